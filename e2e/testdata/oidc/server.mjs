// An OpenID Connect server for tests, on a free port of this machine. ISSUER is
// the address of the proxy in front of it. It prints its own address and runs
// until it is killed.
import http from 'node:http';
import { Provider } from 'oidc-provider';

const device = 'urn:ietf:params:oauth:grant-type:device_code';
const client = (client_id) => ({
  client_id,
  application_type: 'native',
  token_endpoint_auth_method: 'none',
  redirect_uris: ['http://127.0.0.1/auth/callback', 'https://console.example/oauth/code/callback'],
  grant_types: ['authorization_code', 'refresh_token', device],
  response_types: ['code'],
});

const provider = new Provider(process.env.ISSUER, {
  clients: [client('native'), client('hasty')],
  scopes: ['openid', 'offline_access', 'models'],
  pkce: { required: () => true },
  rotateRefreshToken: true,
  features: {
    deviceFlow: { enabled: true },
    revocation: { enabled: true },
    devInteractions: { enabled: true },
  },
  ttl: {
    AccessToken: 3600,
    AuthorizationCode: 60,
    // Nobody can be in time for the codes of this client.
    DeviceCode: (ctx, token, c) => (c.clientId === 'hasty' ? 1 : 600),
    Grant: 86400,
    IdToken: 3600,
    Interaction: 600,
    RefreshToken: 86400,
    Session: 86400,
  },
});

const server = http.createServer(provider.callback());
server.listen(0, '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
