/** `kubectl culvert`: how the nodes of a Kubernetes cluster are, on one screen and from any machine that has kubectl's configuration. */

import { parseArgs } from 'node:util';
import { defaultPort } from '../../agent/config.ts';
import { Api, ApiError, said } from '../../cluster/kubernetes/api.ts';
import { kubectlLogin } from '../../cluster/kubernetes/login.ts';
import { defaultNamespace, namespacePattern } from '../../cluster/schema.ts';
import { type Command, exitCode, UsageError, wholeNumber } from '../../command.ts';
import { ConfigError } from '../../errors.ts';
import { findingsOf, remarksOf, renderFindings, renderNodes, renderTotals, totalsOf } from './summary.ts';
import { type NodeReport, type Place, surveyNodes } from './survey.ts';

const options = {
  kubeconfig: { type: 'string' },
  context: { type: 'string' },
  namespace: { type: 'string', short: 'n', default: defaultNamespace },
  port: { type: 'string', default: String(defaultPort) },
  output: { type: 'string', short: 'o' },
  json: { type: 'boolean', default: false },
} as const;

type Values = ReturnType<typeof parseArgs<{ options: typeof options }>>['values'];

const verbs = ['status', 'problems'];

function outputOf({ json, output }: Values): string {
  if (output === undefined || output === 'wide' || output === 'json') return json ? 'json' : (output ?? '');
  throw new UsageError(`--output: got "${output}", want "wide" or "json"`);
}

function namespaceOf(text: string): string {
  if (namespacePattern.test(text)) return text;
  throw new UsageError(`--namespace: got "${text}", want the name of a namespace`);
}

async function reportsOf(values: Values, place: Place): Promise<NodeReport[]> {
  const api = new Api(kubectlLogin(values.kubeconfig, values.context), 'kubectl-culvert');
  try {
    return await surveyNodes(api, place);
  } catch (error) {
    if (error instanceof ApiError) throw new Error(`the API server ${api.server} refuses: ${error.message}`);
    if (error instanceof ConfigError || (error as NodeJS.ErrnoException).code === undefined) throw error;
    throw new Error(`the API server ${api.server} does not answer: ${said(error as Error)}`);
  }
}

async function run(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({ args, options, allowPositionals: true });
  const [verb = 'status', ...only] = positionals;
  if (!verbs.includes(verb)) throw new UsageError(`got "${verb}", want status or problems`);
  const output = outputOf(values);
  const reports = await reportsOf(values, {
    namespace: namespaceOf(values.namespace),
    port: wholeNumber('--port', values.port, 65_535),
    only,
  });
  const findings = findingsOf(reports);
  const remarks = remarksOf(reports);
  const totals = totalsOf(reports, findings);
  if (output === 'json') {
    const body =
      verb === 'problems' ? { problems: findings, remarks } : { nodes: reports, problems: findings, remarks };
    process.stdout.write(`${JSON.stringify({ ...body, totals }, null, 2)}\n`);
  } else {
    const nodes = verb === 'status' && reports.length > 0 ? [...renderNodes(reports, output === 'wide'), ''] : [];
    const said = [...renderFindings(findings), ...remarks];
    const lines = [...nodes, ...said, ...(said.length > 0 ? [''] : []), renderTotals(totals)];
    process.stdout.write(`${lines.join('\n')}\n`);
  }
  return findings.length + remarks.length > 0 ? exitCode.problems : exitCode.fine;
}

export const kubectlCommand: Command = {
  name: 'kubectl',
  summary: 'how the nodes of a Kubernetes cluster are; as kubectl culvert when linked as kubectl-culvert',
  help: `usage: kubectl culvert [status|problems] [NODE ...] [-o wide|json] [OPTION ...]

status, which goes without saying, shows the cluster's nodes and what is wrong with them, problems only the latter. The questions
go through the API server (pods/proxy), so nodes need not be reachable from here; agents have to listen on their nodes'
addresses, as the manifest says (listen: "[::]:9467").

  -o, --output FORMAT   wide: more columns; json, or --json: for programs
  --kubeconfig FILE     else the files of KUBECONFIG, else ~/.kube/config
  --context NAME        else the current one
  -n, --namespace NAME  where the agents are (default ${defaultNamespace})
  --port PORT           where agents answer (default ${defaultPort})

STATUS is kubelet's word. AGENT: ready, not ready, no answer, not running, or none. MODE says in mode auto to how many nodes each way
leads, and during a change what is accepted too. PODS: addresses leased and there, of the scarcest family. SOURCE, of what the
agent knows of the cluster's nodes: ok, differs (from what most agents know), problem (named below).

Installed by a link on PATH: ln -s culvert kubectl-culvert. Needs list on nodes, list on pods and get on pods/proxy.

Exit codes: 0 all is well, 1 found problems, 2 wrong usage, 3 could not look.`,
  run,
};
