// Makes keys and tokens with the library `jose`.
//
//   node tokens.mjs JOSE DIRECTORY
//
// Writes into DIRECTORY, for each algorithm, the public key as ALG.pem, and sets of keys: ALG.1.jwks with the first key
// and one that is for somebody else, ALG.2.jwks with the second alone. Prints the tokens as JSON, by algorithm and name.
import { writeFileSync } from 'node:fs'

const [jose_at, directory] = process.argv.slice(2)
const jose = await import(`${jose_at}/node_modules/jose/dist/webapi/index.js`)

const now = Math.floor(Date.now() / 1000)
const tokens = {}
for (const alg of ['RS256', 'ES256', 'EdDSA']) {
  const options = { extractable: true }
  const pairs = [await jose.generateKeyPair(alg, options), await jose.generateKeyPair(alg, options)]
  const stranger = await jose.generateKeyPair(alg, options)
  const sign = (pair, kid, change = {}) =>
    new jose.SignJWT({ aud: 'pulsegate', iss: 'https://issuer.example', exp: now + 3600, nbf: now - 60, ...change })
      .setProtectedHeader({ alg, kid, typ: 'JWT' })
      .sign(pair.privateKey)
  const spki = await jose.exportSPKI(pairs[0].publicKey)
  writeFileSync(`${directory}/${alg}.pem`, spki)
  const jwk = async (pair, kid, use) => ({ ...(await jose.exportJWK(pair.publicKey)), kid, alg, use })
  const set = (...keys) => JSON.stringify({ keys })
  const encrypts = { kty: 'oct', kid: 'other', use: 'enc', k: 'AAAA' }
  writeFileSync(`${directory}/${alg}.1.jwks`, set(encrypts, await jwk(pairs[0], 'first', 'sig')))
  writeFileSync(`${directory}/${alg}.2.jwks`, set(await jwk(pairs[1], 'second', 'sig')))
  const confused = await new jose.SignJWT({ aud: 'pulsegate', iss: 'https://issuer.example', exp: now + 3600 })
    .setProtectedHeader({ alg: 'HS256', kid: 'first' })
    .sign(new TextEncoder().encode(spki))
  const unsigned = new jose.UnsecuredJWT({ aud: 'pulsegate', iss: 'https://issuer.example', exp: now + 3600 }).encode()
  tokens[alg] = {
    good: await sign(pairs[0], 'first'),
    second: await sign(pairs[1], 'second'),
    expired: await sign(pairs[0], 'first', { exp: now - 3600 }),
    endless: await sign(pairs[0], 'first', { exp: undefined }),
    early: await sign(pairs[0], 'first', { nbf: now + 1800 }),
    for_another: await sign(pairs[0], 'first', { aud: ['another'] }),
    of_another: await sign(pairs[0], 'first', { iss: 'https://elsewhere.example' }),
    of_a_stranger: await sign(stranger, 'first'),
    large: await sign(pairs[0], 'first', { padding: 'a'.repeat(7000) }),
    confused,
    unsigned,
  }
}
const secret = 'invented-canary-secret-of-tokens-0123456789'
const hmac = (change = {}, key = secret) =>
  new jose.SignJWT({ aud: 'pulsegate', iss: 'https://issuer.example', exp: now + 3600, ...change })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(new TextEncoder().encode(key))
writeFileSync(`${directory}/HS256.secret`, secret + '\n')
tokens.HS256 = {
  good: await hmac(),
  expired: await hmac({ exp: now - 3600 }),
  of_a_stranger: await hmac({}, secret.toUpperCase()),
}
console.log(JSON.stringify(tokens))
