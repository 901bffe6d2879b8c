// Verifies webhooks with two libraries of others: Standard Webhooks' own, and tern, which shares no code with it.
//
// [{secret, headers, body}] on standard input gives [[official, tern], …], each true where the library believes it.
"use strict";

const { Webhook } = require("standardwebhooks");
const { WebhookVerificationService } = require("@hookflo/tern");

// What the specification says, in tern's terms: it has no name of its own for it, but the platforms that follow it.
const STANDARD = "dodopayments";

function official({ secret, headers, body }) {
  try {
    new Webhook(secret).verify(body, headers);
    return true;
  } catch (error) {
    if (error.name === "WebhookVerificationError") return false;
    throw error;
  }
}

async function tern({ secret, headers, body }) {
  const request = new Request("http://receiver.example/", { method: "POST", headers: new Headers(headers), body });
  const found = await WebhookVerificationService.verify(request, { platform: STANDARD, secret, toleranceInSeconds: 300 });
  return found.isValid;
}

(async () => {
  const given = JSON.parse(require("fs").readFileSync(0, "utf8"));
  const answers = [];
  for (const one of given) answers.push([official(one), await tern(one)]);
  process.stdout.write(JSON.stringify(answers));
})();
