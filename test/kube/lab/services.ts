/** Services of both families, with addresses and ports that are known before. */

export interface Service {
  readonly name: string;
  /** IPv4, IPv6. */
  readonly clusterIPs: readonly string[];
  readonly nodePort: number;
}

export const service = (name: string, number: number): Service => ({
  name,
  clusterIPs: [`10.96.0.${number}`, `fd00:96::${number}`],
  nodePort: 30_000 + number,
});

/** Its object, with what else its `spec` is to have. */
export const serviceObject = ({ name, clusterIPs, nodePort }: Service, more: object = {}): object => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name },
  spec: {
    type: 'NodePort',
    ipFamilyPolicy: 'RequireDualStack',
    clusterIP: clusterIPs[0],
    clusterIPs,
    ports: [{ port: 80, nodePort }],
    ...more,
  },
});
