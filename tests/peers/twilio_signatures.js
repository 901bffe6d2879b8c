// Signs and checks webhooks with Twilio's library for Node; JSON on standard input and output.
//
// [{url, token, fields | body}] gives the signatures that Twilio's servers would send; with a signature in a request,
// whether the library takes it for one.
"use strict";

const { getExpectedTwilioSignature, validateRequest, validateRequestWithBody } = require("twilio/lib/webhooks/webhooks");

function answer({ url, token, fields, body, signature }) {
  if (signature === undefined) return getExpectedTwilioSignature(token, url, fields || {});
  if (body !== undefined) return validateRequestWithBody(token, signature, url, body);
  return validateRequest(token, signature, url, fields);
}

process.stdout.write(JSON.stringify(JSON.parse(require("fs").readFileSync(0, "utf8")).map(answer)));
