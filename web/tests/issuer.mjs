/**
 * A real OpenID Connect issuer for the browser and Rust tests: the certified `oidc-provider` on loopback. The login name
 * of a user determines their roles, and each role has a machine client.
 *
 *   node web/tests/issuer.mjs --port 0 --client-secret S --redirect-uri URL --post-logout-uri URL
 *     [--alg ES256|RS256]
 *
 * It prints one line of JSON when it is listening. It exits when its stdin is closed or on SIGTERM, so no process is left
 * behind by a test that crashed. All state is in memory: a restart generates new keys.
 *
 * Plain JavaScript, because the oldest supported version of Node.js does not run TypeScript.
 */
import { createPrivateKey, generateKeyPairSync, randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import process from "node:process";
import { URLSearchParams } from "node:url";
import { parseArgs } from "node:util";
import Provider, { errors } from "oidc-provider";

const { values: options } = parseArgs({
  options: {
    port: { type: "string", default: "0" },
    "client-secret": { type: "string" },
    "redirect-uri": { type: "string", multiple: true },
    "post-logout-uri": { type: "string", multiple: true },
    alg: { type: "string", default: "ES256" },
  },
});

const required = (name) => {
  const value = options[name];
  if (value === undefined) {
    process.stderr.write(`--${name} is missing\n`);
    process.exit(2);
  }
  return value;
};

/** Operators have the role sales as well. */
const ROLES = {
  customer: ["customer"],
  sales: ["sales"],
  auditor: ["auditor"],
  operator: ["sales", "operator"],
};
/** The resource must be a URI (RFC 8707); the audience in the token need not be one. */
const RESOURCE = "urn:sales:api";
const AUDIENCE = "sales";
const PEOPLE = "sales-pages";
const machine = (role) => `role-${role}`;

/** The role is the part of the login name after the last hyphen: `olga-operator`. Other users have no roles. */
const rolesOf = (login) => ROLES[login.split("-").at(-1)] ?? [];

function generateKeys() {
  const signing = [
    ["ES256", generateKeyPairSync("ec", { namedCurve: "P-256" })],
    ["RS256", generateKeyPairSync("rsa", { modulusLength: 2048 })],
  ];
  const keys = signing.map(([alg, { privateKey }]) => ({
    ...privateKey.export({ format: "jwk" }),
    alg,
    use: "sig",
    kid: `${alg}-${randomUUID()}`,
  }));
  return { keys };
}

const configuration = {
  jwks: generateKeys(),
  clients: [
    {
      client_id: PEOPLE,
      client_secret: required("client-secret"),
      grant_types: ["authorization_code"],
      response_types: ["code"],
      redirect_uris: required("redirect-uri"),
      post_logout_redirect_uris: required("post-logout-uri"),
      token_endpoint_auth_method: "client_secret_basic",
      id_token_signed_response_alg: options.alg,
    },
    ...Object.keys(ROLES).map((role) => ({
      client_id: machine(role),
      client_secret: required("client-secret"),
      grant_types: ["client_credentials"],
      response_types: [],
      redirect_uris: [],
      token_endpoint_auth_method: "client_secret_basic",
    })),
  ],
  responseTypes: ["code"],
  cookies: { keys: [randomUUID()] },
  pkce: { required: () => true },
  // Part of the scope of every sign-in, so the roles are in the ID token itself.
  claims: { openid: ["sub", "roles"] },
  findAccount: (_ctx, login) => ({
    accountId: login,
    claims: () => ({ sub: login, roles: rolesOf(login) }),
  }),
  // A machine client has the role in its name.
  extraTokenClaims: (_ctx, token) =>
    token.kind === "ClientCredentials" ? { roles: [token.clientId.replace("role-", "")] } : undefined,
  // The shop is a first-party client: users are not asked for consent.
  async loadExistingGrant(ctx) {
    const grant = new ctx.oidc.provider.Grant({
      clientId: ctx.oidc.client.clientId,
      accountId: ctx.oidc.session.accountId,
    });
    grant.addOIDCScope("openid");
    await grant.save();
    return grant;
  },
  interactions: { url: (_ctx, interaction) => `/login/${interaction.uid}` },
  // In seconds.
  ttl: {
    AccessToken: 600,
    AuthorizationCode: 60,
    ClientCredentials: 600,
    Grant: 3600,
    IdToken: 600,
    Interaction: 600,
    Session: 3600,
  },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      // Only machine clients get access tokens for the API, by default. Users sign in with their ID token.
      defaultResource: (_ctx, client) => (client.clientId === PEOPLE ? undefined : RESOURCE),
      getResourceServerInfo: (_ctx, resource, client) => {
        if (resource !== RESOURCE || client.clientId === PEOPLE) {
          throw new errors.InvalidTarget();
        }
        return { scope: "", audience: AUDIENCE, accessTokenFormat: "jwt", jwt: { sign: { alg: options.alg } } };
      },
    },
    rpInitiatedLogout: {
      enabled: true,
      logoutSource(ctx, form) {
        ctx.body = page(
          "Sign out",
          `${form}<button type="submit" form="op.logoutForm" name="logout" value="yes" autofocus>Sign out</button>`,
        );
      },
      postLogoutSuccessSource(ctx) {
        ctx.body = page("Signed out", "");
      },
    },
  },
  renderError(ctx, out) {
    ctx.type = "html";
    ctx.body = page("Error", `<pre>${escape(JSON.stringify(out, undefined, 2))}</pre>`);
  },
};

const escape = (text) => text.replace(/[&<>"]/g, (character) => `&#${character.codePointAt(0)};`);

const page = (title, content) =>
  `<!doctype html><html lang="en"><meta charset="utf-8"><title>${title}</title><h1>${title}</h1>${content}</html>`;

/** The login page, which accepts any login name without a password. */
async function login(provider, request, response) {
  // Fails unless the authorization endpoint has just redirected this browser here.
  const { params } = await provider.interactionDetails(request, response);
  if (request.method === "POST") {
    const accountId = new URLSearchParams(await bodyOf(request)).get("login") ?? "";
    if (/^[\w.@-]{1,64}$/.test(accountId)) {
      await provider.interactionFinished(request, response, { login: { accountId } });
      return;
    }
  }
  const hint = escape(String(params.login_hint ?? ""));
  response.setHeader("Content-Type", "text/html; charset=utf-8");
  response.setHeader("Cache-Control", "no-store");
  response.end(
    page(
      "Sign in",
      `<form method="post"><label>Login <input name="login" value="${hint}" required autofocus></label> ` +
        `<button type="submit">Sign in</button></form>`,
    ),
  );
}

async function bodyOf(request) {
  let body = "";
  for await (const chunk of request.setEncoding("utf8")) {
    body += chunk;
    if (body.length > 10_000) {
      throw new Error("too long");
    }
  }
  return body;
}

const server = createServer();
server.listen(Number(options.port), "127.0.0.1");
await once(server, "listening");
const issuer = `http://127.0.0.1:${server.address().port}`;
const provider = new Provider(issuer, configuration);
provider.on("server_error", (_ctx, error) => process.stderr.write(`${error.stack}\n`));
const answer = provider.callback();
server.on("request", (request, response) => {
  if (request.url.startsWith("/login/")) {
    login(provider, request, response).catch((error) => {
      response.statusCode = 400;
      response.end(String(error));
    });
  } else {
    void answer(request, response);
  }
});

const end = () => {
  server.close();
  server.closeAllConnections();
  process.exit(0);
};
process.on("SIGTERM", end);
process.on("SIGINT", end);
process.stdin.on("end", end).on("error", end).resume();

// For tests that forge tokens.
const signingKey = configuration.jwks.keys.find(({ alg }) => alg === options.alg);
const pkcs8 = createPrivateKey({ key: signingKey, format: "jwk" }).export({ type: "pkcs8", format: "der" });
const ready = {
  issuer,
  signing_key: { kid: signingKey.kid, pkcs8: pkcs8.toString("base64") },
  client_id: PEOPLE,
  machines: Object.fromEntries(Object.keys(ROLES).map((role) => [role, machine(role)])),
  resource: RESOURCE,
  audience: AUDIENCE,
  token_endpoint: `${issuer}/token`,
  jwks_uri: `${issuer}/jwks`,
};
process.stdout.write(`${JSON.stringify(ready)}\n`);
