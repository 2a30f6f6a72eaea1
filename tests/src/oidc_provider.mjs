// npm's oidc-provider with one client. Reads orders as lines of JSON and answers each with one.
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { createPublicKey } from "node:crypto";
import { createInterface } from "node:readline";
import { Provider } from "oidc-provider";
import { SignJWT, decodeJwt, exportJWK, generateKeyPair } from "jose";

const folder = process.env.FOLDER;
const { privateKey, publicKey } = await generateKeyPair("RS256", { extractable: true });
const jwk = { ...(await exportJWK(privateKey)), kid: "k1", alg: "RS256", use: "sig" };
const publicJwk = { ...(await exportJWK(publicKey)), kid: "k1", alg: "RS256", use: "sig" };

let person = { subject: "nobody", claims: {} };
let tampering = null;

const pem = createPublicKey({ key: publicJwk, format: "jwk" }).export({ type: "spki", format: "pem" });
const sign = (header, claims) =>
  new SignJWT(claims)
    .setProtectedHeader({ alg: "RS256", kid: "k1", ...header })
    .sign(header.alg === "HS256" ? Buffer.from(pem) : privateKey);

const tls = {
  key: readFileSync(`${folder}/key.pem`),
  cert: readFileSync(`${folder}/certificate.pem`),
};
let handle = (_, response) => response.end();
const server = createServer(tls, (request, response) => handle(request, response));
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const issuer = `https://127.0.0.1:${server.address().port}`;

const people = new Map();
const provider = new Provider(issuer, {
  clients: [{
    client_id: "muster",
    client_secret: "client secret",
    redirect_uris: [process.env.CALLBACK],
    grant_types: ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"],
    response_types: ["code"],
  }],
  jwks: { keys: [jwk] },
  cookies: { keys: ["test"] },
  claims: { openid: ["sub"], profile: ["preferred_username"], email: ["email", "email_verified"], groups: ["groups"] },
  features: { devInteractions: { enabled: false }, deviceFlow: { enabled: true } },
  pkce: { required: () => false },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...people.get(id) }) }),
});

provider.use(async (context, next) => {
  if (context.path.startsWith("/interaction/")) {
    const details = await provider.interactionDetails(context.req, context.res);
    let result = { login: { accountId: person.subject } };
    if (details.prompt.name === "consent") {
      const grant = new provider.Grant({ accountId: details.session.accountId, clientId: details.params.client_id });
      grant.addOIDCScope(details.params.scope);
      result = { consent: { grantId: await grant.save() } };
    }
    context.respond = false;
    await provider.interactionFinished(context.req, context.res, result, { mergeWithLastSubmission: true });
    return;
  }
  await next();
  if (context.path === "/token" && tampering && context.body?.id_token) {
    const claims = { ...decodeJwt(context.body.id_token), ...tampering.claims };
    for (const name of Object.keys(claims)) if (claims[name] === null) delete claims[name];
    if (tampering.header.alg === "none") {
      const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
      context.body.id_token = `${part(tampering.header)}.${part(claims)}.`;
    } else {
      context.body.id_token = await sign(tampering.header, claims);
    }
  }
});
handle = provider.callback();

const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
say({ issuer });
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  if (order.person) {
    person = order.person;
    people.set(person.subject, person.claims);
    say({});
  } else if (order.sign) {
    say({ token: await sign(order.sign.header, order.sign.claims) });
  } else if (order.tamper) {
    tampering = Object.keys(order.tamper.claims).length + Object.keys(order.tamper.header).length ? order.tamper : null;
    say({});
  }
}
process.exit(0);
