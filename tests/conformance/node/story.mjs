// Every grant, introspection, revocation and exchange by oauth4webapi, which is used as it is: `story.mjs <settings>`.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'

import * as oauth from 'oauth4webapi'
import { Agent, buildConnector, fetch } from 'undici'

const settings = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const text = (path) => readFileSync(path, 'utf8')
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
const TRANSACTION_TOKEN = 'urn:ietf:params:oauth:token-type:txn_token'
const issuer = new URL(settings.issuer)
let turn = 0

// The name of the token service leads to each replica in turn, as a Service of Kubernetes does.
function transport(certificate) {
  const connect = buildConnector({ ca: text(settings.roots), ...certificate })
  const dispatcher = new Agent({
    connect(options, callback) {
      const [hostname, port] = settings.replicas[turn++ % settings.replicas.length]
      connect({ ...options, hostname, port, servername: settings.host }, callback)
    },
  })
  return { [oauth.customFetch]: (url, options) => fetch(url, { ...options, dispatcher }) }
}

const anybody = transport({})
const as = await oauth.processDiscoveryResponse(
  issuer,
  await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...anybody }),
)
await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: 'oidc', ...anybody }))

class Client {
  constructor(name, method) {
    const known = settings.clients[name]
    this.client = { client_id: known.id }
    this.options = anybody
    this.authentication = {
      private_key_jwt: async () => oauth.PrivateKeyJwt(await importKey(known.key)),
      client_secret_basic: () => oauth.ClientSecretBasic(known.secret),
      client_secret_post: () => oauth.ClientSecretPost(known.secret),
      tls_client_auth: () => {
        this.options = transport({ cert: text(known.certificate), key: text(known.certificate_key) })
        return oauth.TlsClientAuth()
      },
    }[method]()
  }

  async call(request, ...more) {
    return request(as, this.client, await this.authentication, ...more, this.options)
  }

  async token(audience, scope) {
    const wanted = new URLSearchParams({ audience, scope })
    const answer = await this.call(oauth.clientCredentialsGrantRequest, wanted)
    return oauth.processClientCredentialsResponse(as, this.client, answer)
  }

  async exchanged(subject_token, wanted) {
    const form = new URLSearchParams({ subject_token, subject_token_type: ACCESS_TOKEN, ...wanted })
    const answer = await this.call(oauth.genericTokenEndpointRequest, EXCHANGE, form)
    return oauth.processGenericTokenEndpointResponse(as, this.client, answer, { recognizedTokenTypes: { n_a() {} } })
  }

  async introspected(token) {
    return oauth.processIntrospectionResponse(as, this.client, await this.call(oauth.introspectionRequest, token))
  }

  async revoked(token) {
    await oauth.processRevocationResponse(await this.call(oauth.revocationRequest, token))
  }
}

async function importKey(jwk) {
  const algorithm = { name: 'ECDSA', namedCurve: jwk.crv }
  return { key: await crypto.subtle.importKey('jwk', jwk, algorithm, false, ['sign']), kid: jwk.kid }
}

const id = (name) => settings.clients[name].id
const accepted = (token, audience) =>
  oauth.validateJwtAccessToken(
    as,
    new Request('https://service', { headers: { authorization: `Bearer ${token}` } }),
    audience,
    anybody,
  )

for (const [name, method, callee] of [
  ['gateway', 'tls_client_auth', 'order'],
  ['gateway', 'private_key_jwt', 'order'],
  ['web', 'client_secret_basic', 'gateway'],
  ['web', 'client_secret_post', 'gateway'],
]) {
  const client = new Client(name, method)
  const answer = await client.token(id(callee), 'shop.read')
  assert.equal(answer.token_type, 'bearer')
  const claims = await accepted(answer.access_token, id(callee))
  assert.deepEqual([claims.sub, claims.client_id, claims.scope], [id(name), id(name), 'shop.read'], method)
  await assert.rejects(accepted(answer.access_token, id('stranger')), { code: oauth.JWT_CLAIM_COMPARISON })
  await assert.rejects(client.token(id('stranger'), ''), (refusal) => refusal.error === 'invalid_target')
  await assert.rejects(client.token(id(callee), 'admin'), (refusal) => refusal.error === 'invalid_scope')
}

const first = await new Client('web', 'client_secret_basic').token(id('gateway'), 'shop.read shop.pay')
const gateway = new Client('gateway', 'private_key_jwt')
const second = await gateway.exchanged(first.access_token, { audience: id('order'), scope: 'shop.read shop.pay' })
const hop = await accepted(second.access_token, id('order'))
assert.deepEqual([hop.sub, hop.act], [id('web'), { sub: id('gateway') }])
const order = new Client('order', 'tls_client_auth')
const third = await order.exchanged(second.access_token, { audience: id('delivery') })
const delivery = new Client('delivery', 'tls_client_auth')
const told = await delivery.introspected(third.access_token)
assert.deepEqual([told.active, told.sub, told.act], [true, id('web'), { sub: id('order'), act: { sub: id('gateway') } }])
await assert.rejects(order.exchanged(first.access_token, { audience: id('delivery') }), { error: 'invalid_grant' })

const ledger = new Client('ledger', 'private_key_jwt')
const wanted = { audience: id('ledger'), requested_token_type: TRANSACTION_TOKEN, scope: 'shop.pay', purpose: 'transfer' }
const once = await order.exchanged(second.access_token, wanted)
assert.deepEqual([once.issued_token_type, once.token_type], [TRANSACTION_TOKEN, 'n_a'])
assert.equal((await ledger.introspected(once.access_token)).active, true)
assert.deepEqual(await ledger.introspected(once.access_token), { active: false })

assert.equal((await order.introspected(second.access_token)).active, true)
await gateway.revoked(second.access_token)
assert.deepEqual(await order.introspected(second.access_token), { active: false })
process.exit()
