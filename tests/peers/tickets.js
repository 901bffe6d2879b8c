// Verifies our tickets and signs a portal's own with jsonwebtoken: {verify: {ticket, key, issuer, audience}, sign: {claims, key, kid}}.
"use strict";

const jwt = require("jsonwebtoken");

const { verify, sign } = JSON.parse(require("fs").readFileSync(0, "utf8"));
const read = (key) => {
  try {
    return jwt.verify(verify.ticket, key, { algorithms: ["HS256"], issuer: verify.issuer, audience: verify.audience, maxAge: "60s" });
  } catch (error) {
    return error.name;
  }
};
const said = {
  claims: read(verify.key),
  otherKey: read(verify.key + "x"),
  kid: jwt.decode(verify.ticket, { complete: true }).header.kid,
  signed: jwt.sign(sign.claims, sign.key, { algorithm: "HS256", keyid: sign.kid }),
};
process.stdout.write(JSON.stringify(said));
