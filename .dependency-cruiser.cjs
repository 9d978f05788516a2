// The import rules: four tiers, imports go down only (CONTRIBUTING.md draws them). A violation names both files and the rule.
const pure = '^src/(errors|decode|changed|mapped-list|net|cni|nftables|plan)';
module.exports = {
  forbidden: [
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'values-import-values',
      severity: 'error',
      from: { path: '^src/(errors|decode|changed|mapped-list|net)' },
      to: { path: '^(src|plugins)/', pathNot: '^src/(errors|decode|changed|mapped-list|net)' },
    },
    {
      name: 'cni-imports-values',
      severity: 'error',
      from: { path: '^src/cni', pathNot: '^src/cni/(delegate|skel|ipam)' },
      to: { path: '^(src|plugins)/', pathNot: '^src/(errors|decode|net|cni)' },
    },
    {
      name: 'delegate-may-execute',
      severity: 'error',
      from: { path: '^src/cni/(delegate|skel|ipam)' },
      to: { path: '^(src|plugins)/', pathNot: '^src/(errors|decode|net|cni|kernel/(exec|netns))' },
    },
    {
      name: 'nftables-imports-values',
      severity: 'error',
      from: { path: '^src/nftables' },
      to: { path: '^(src|plugins)/', pathNot: '^src/(errors|decode|net|nftables)' },
    },
    {
      name: 'plan-imports-values-and-nftables',
      severity: 'error',
      from: { path: '^src/plan' },
      to: { path: '^(src|plugins)/', pathNot: '^src/(errors|decode|changed|mapped-list|net|nftables|plan)' },
    },
    {
      name: 'effects-import-values',
      severity: 'error',
      from: { path: '^src/(kernel|store)' },
      to: { path: '^(src|plugins)/', pathNot: '^src/(errors|decode|net|kernel|store)' },
    },
    {
      name: 'cluster-imports-values-and-the-view',
      severity: 'error',
      from: { path: '^src/cluster' },
      to: { path: '^(src|plugins)/', pathNot: '^src/(errors|decode|changed|mapped-list|net|cluster|plan/cluster)' },
    },
    {
      name: 'apply-imports-plan-nftables-kernel',
      severity: 'error',
      from: { path: '^src/apply' },
      to: { path: '^(src|plugins)/', pathNot: '^src/(errors|decode|net|nftables|plan|kernel|apply)' },
    },
    {
      name: 'ipam-imports-what-is-below',
      severity: 'error',
      from: { path: '^src/ipam' },
      to: { path: '^(src|plugins)/', pathNot: '^src/(errors|decode|pool|net|nftables|plan|kernel|store|apply|ipam)' },
    },
    {
      name: 'programs-never-import-each-other',
      severity: 'error',
      from: { path: '^(?:src/)?(plugins|agent|lab|cli)/', pathNot: '^src/cli/' },
      to: { path: '^(?:src/)?(plugins|agent|lab|cli)/', pathNot: '^(?:src/)?$1/' },
    },
    {
      name: 'pure-code-touches-no-machine',
      severity: 'error',
      from: { path: pure, pathNot: '^src/cni/(delegate|skel|ipam)' },
      to: { dependencyTypes: ['core'], path: '^(node:)?(fs|child_process|net|http|https|os|process|timers)' },
    },
    {
      name: 'plugins-load-no-libraries',
      comment: 'a plugin starts in milliseconds: a library costs it half again its start (docs/benchmarks.md)',
      severity: 'error',
      from: { path: '^(plugins|src/(cni|net|nftables|plan|kernel|apply|store|errors|decode))' },
      to: { path: 'node_modules/(zod|yaml|execa|prom-client|@kubernetes)' },
    },
    {
      name: 'main-only-is-imported-by-nobody',
      severity: 'error',
      from: { path: '^(src|plugins)/' },
      to: { path: '^src/main' },
    },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: {
      extensions: ['.ts', '.js', '.json'],
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default'],
    },
  },
};
