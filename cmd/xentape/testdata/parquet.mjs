// Reads Parquet files with hyparquet and prints their rows as JSON, one file a line.
// argv: the folder with node_modules, then the files.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
const from = name => import(pathToFileURL(join(process.argv[2], 'node_modules', name, 'src', 'index.js')))
const { parquetReadObjects } = await from('hyparquet')
const { compressors } = await from('hyparquet-compressors')
for (const path of process.argv.slice(3)) {
  const b = readFileSync(path)
  const file = b.buffer.slice(b.byteOffset, b.byteOffset + b.length)
  const rows = await parquetReadObjects({ file, compressors })
  console.log(JSON.stringify(rows, (_, v) => typeof v === 'bigint' ? Number(v) : v))
}
