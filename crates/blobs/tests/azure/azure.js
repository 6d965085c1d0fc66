// Makes a container of an Azure server, and damages a blob of one: what the store itself cannot do.
//
//     node azure.js make BASE ACCOUNT KEY CONTAINER
//     node azure.js damage BASE ACCOUNT KEY CONTAINER BLOB

const crypto = require('crypto');

const [what, base, account, key, container, blob] = process.argv.slice(2);

// A request with the signature "SharedKey" of Azure's documents.
async function ask(method, path, query, headers, body) {
  const url = new URL(`${base}/${path}`);
  headers = { ...headers, 'x-ms-date': new Date().toUTCString(), 'x-ms-version': '2021-08-06' };
  const named = Object.keys(headers).sort().map((name) => `${name}:${headers[name]}\n`).join('');
  const asked = Object.keys(query).sort().map((name) => `\n${name}:${query[name]}`).join('');
  const length = body?.length ? String(body.length) : '';
  const type = body ? 'application/octet-stream' : '';
  const text = [method, '', '', length, '', type, '', '', '', '', '', '', ''].join('\n')
    + `${named}/${account}${url.pathname}${asked}`;
  const signature = crypto.createHmac('sha256', Buffer.from(key, 'base64')).update(text).digest('base64');
  headers.authorization = `SharedKey ${account}:${signature}`;
  if (body) headers['content-type'] = type;
  for (const name in query) url.searchParams.set(name, query[name]);
  const answer = await fetch(url, { method, headers, body });
  if (!answer.ok) throw new Error(`${method} ${url}: ${answer.status} ${await answer.text()}`);
  return Buffer.from(await answer.arrayBuffer());
}

async function main() {
  if (what === 'make') return ask('PUT', container, { restype: 'container' }, {});
  const path = `${container}/${blob}`;
  const bytes = await ask('GET', path, {}, {});
  bytes[bytes.length - 1] ^= 0xff;
  return ask('PUT', path, {}, { 'x-ms-blob-type': 'BlockBlob' }, bytes);
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
