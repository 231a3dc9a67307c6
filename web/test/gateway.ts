// Fetches blocks of a segment from a node's gateway with Helia's verified fetch, and reads its CAR file with @ipld/car.
// Input on stdin: { gateway, link, blocks: [cid], missing: cid, forged: cid, root: cid }

import { withHTTP } from '@helia/http'
import { createVerifiedFetchWithHelia } from '@helia/verified-fetch'
import { CarReader } from '@ipld/car'
import * as dagCbor from '@ipld/dag-cbor'
import { createHeliaLight } from 'helia'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { sha256 } from 'multiformats/hashes/sha2'

const WAIT_MS = 20_000
// The timers of AbortSignal.timeout keep no process alive, and a fetch that waits for its time-out has nothing else.
setInterval(() => {}, 1_000)

const chunks: Buffer[] = []
for await (const chunk of process.stdin) chunks.push(chunk as Buffer)
const given = JSON.parse(Buffer.concat(chunks).toString()) as {
  gateway: string
  link: string
  blocks: string[]
  missing: string
  forged: string
  root: string
}

const headers = { authorization: `Bearer ${given.link}` }
const helia = withHTTP(createHeliaLight({ codecs: [dagCbor] }), {
  delegatedRouters: [],
  recursiveGateways: [given.gateway],
  allowInsecure: true,
  allowLocal: true,
  transformRequestInit: (init) => ({ ...init, headers: { ...init.headers, ...headers } }),
})
// Helia asks fallbacks when no other way knew anything; without any other way it would wait for one.
helia.addRouter({
  name: 'nobody',
  async *findProviders() {},
})
await helia.start()
const verifiedFetch = await createVerifiedFetchWithHelia(helia)

const fetched: Record<string, string> = {}
for (const cid of given.blocks) {
  const answer = await verifiedFetch(`ipfs://${cid}`, {
    headers: { accept: 'application/vnd.ipld.raw' },
    signal: AbortSignal.timeout(WAIT_MS),
  })
  fetched[cid] = Buffer.from(await answer.arrayBuffer()).toString('hex')
}

async function refused(cid: string): Promise<boolean> {
  try {
    const answer = await verifiedFetch(`ipfs://${cid}`, {
      headers: { accept: 'application/vnd.ipld.raw' },
      signal: AbortSignal.timeout(2_000),
    })
    return !answer.ok
  } catch {
    return true
  }
}

const answer = await fetch(`${given.gateway}/ipfs/${given.root}?format=car`, { headers })
const car = await CarReader.fromBytes(new Uint8Array(await answer.arrayBuffer()))
const inCar: string[] = []
for await (const { cid, bytes } of car.blocks()) {
  const again = CID.createV1(cid.code === raw.code ? raw.code : dagCbor.code, await sha256.digest(bytes))
  if (!again.equals(cid)) throw new Error(`the CAR file holds other bytes under ${cid.toString()}`)
  inCar.push(cid.toString())
}

const told = {
  fetched,
  media: answer.headers.get('content-type'),
  roots: (await car.getRoots()).map((cid) => cid.toString()),
  car: inCar,
  missing: await refused(given.missing),
  forged: await refused(given.forged),
}
process.stdout.write(JSON.stringify(told), () => process.exit(0))
