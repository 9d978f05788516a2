/** Filled in by scripts/build.ts. */
declare const CULVERT_VERSION: string;

export const version: string = typeof CULVERT_VERSION === 'string' ? CULVERT_VERSION : '0.0.0-source';
