// Sends one text with Twilio's library for Node, to the address that it is given: JSON on standard input and output.
"use strict";

const twilio = require("twilio");
const RequestClient = require("twilio/lib/base/RequestClient");

const { base, account, token, message } = JSON.parse(require("fs").readFileSync(0, "utf8"));

class Elsewhere extends RequestClient {
  request(options) {
    return super.request({ ...options, uri: options.uri.replace("https://api.twilio.com", base) });
  }
}

twilio(account, token, { httpClient: new Elsewhere() })
  .messages.create(message)
  .then(({ sid, status }) => process.stdout.write(JSON.stringify({ sid, status })));
