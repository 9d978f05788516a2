/** What is used of the Kubernetes client library. A bundle of its own in the executable: it is read only where Node objects are the source. */

export { KubeConfig } from '@kubernetes/client-node';
