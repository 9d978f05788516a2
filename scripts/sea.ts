/** The header of what Node's --build-sea puts into an executable (src/node_sea.cc of Node 26). */

const magic = 0x143da20;
/** SeaFlags::kUseSnapshot. */
const useSnapshot = 1 << 1;

/**
 * Marks the main script of an executable as a snapshot that was built before: --build-sea makes snapshots by itself alone, and not
 * without the code cache. The header has, little endian: magic (u32), flags (u32), where arguments may come from (u8), the main script's format (u8), the length
 * of the main script's path (u64), the path, and then the script or snapshot.
 */
export function withSnapshotAsMain(executable: Buffer, path: string): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(path.length));
  const pathField = Buffer.concat([length, Buffer.from(path)]);
  const found = executable.indexOf(pathField);
  const header = found - 10;
  if (found < 0 || executable.readUInt32LE(header) !== magic || executable.indexOf(pathField, found + 1) >= 0) {
    throw new Error(`no header of a single executable with main "${path}"; is this another Node than 26?`);
  }
  executable.writeUInt32LE(executable.readUInt32LE(header + 4) | useSnapshot, header + 4);
  return executable;
}
