/** What the Kubernetes API of the client library's release knows of an object: its fields and their types, as generated from its OpenAPI. */

import * as client from '@kubernetes/client-node';

interface Attribute {
  readonly baseName: string;
  /** "V1ObjectMeta", "Array<V1Container>", "{ [key: string]: string; }", "number" */
  readonly type: string;
}

interface Model {
  getAttributeTypeMap(): readonly Attribute[];
}

const models = client as unknown as Readonly<Record<string, Model | undefined>>;

const plain: Readonly<Record<string, readonly string[]>> = {
  string: ['string'],
  number: ['number'],
  boolean: ['boolean'],
  Date: ['string'],
  IntOrString: ['string', 'number'],
};

function misfitsOf(value: unknown, type: string, path: string): string[] {
  const item = /^Array<(.*)>$/.exec(type)?.[1];
  if (item)
    return Array.isArray(value) ? value.flatMap((v, i) => misfitsOf(v, item, `${path}[${i}]`)) : [`${path}: no list`];
  const entry = /^\{ \[key: string\]: (.*); \}$/.exec(type)?.[1];
  const isPlain = plain[type]?.includes(typeof value);
  if (isPlain !== undefined) return isPlain ? [] : [`${path}: got ${JSON.stringify(value)}, want ${type}`];
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [`${path}: no object`];
  const fields = entry ? undefined : models[type]?.getAttributeTypeMap();
  if (!entry && !fields) return [`${path}: the API has no ${type}`];
  return Object.entries(value).flatMap(([key, v]) => {
    const known = entry ?? fields!.find((f) => f.baseName === key)?.type;
    return known ? misfitsOf(v, known, `${path}.${key}`) : [`${path}.${key}: ${type} has no such field`];
  });
}

/** Fields of an object that the API does not know, or that are of another type; none: it is right. */
export const unknownFields = (object: { apiVersion: string; kind: string }): string[] =>
  misfitsOf(object, `V1${object.kind}`, object.kind);
