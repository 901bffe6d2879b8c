// A message centre made of npm's smpp, which shares no code with the driver that is tested against it.
//
// SMPP on one port (TLS on another where KEY and CERT name files), control by JSON over HTTP on a third; the ports are
// printed once all of them listen. What it has for a receiver it tells again until it is answered, like a real one.
"use strict";

const fs = require("fs");
const http = require("http");
const smpp = require("smpp");

const PASSWORDS = JSON.parse(process.env.PASSWORDS);
const JUNK = Buffer.from("00ff3c68746d6c3e", "hex");

let state;
const sessions = new Set();

function reset() {
  smpp.encodings.default = "ASCII"; // its name for GSM-7
  for (const delivery of state ? state.deliveries : []) delivery.done = true;
  state = {
    fault: "", after: 0, seconds: 1, refusals: {}, perSecond: 0, hexIds: false, mute: false,
    taken: [], parts: new Map(), deliveries: [], binds: [], enquiries: 0, moments: [], submitted: 0, throttled: 0,
  };
}

function set({ charset, ...changes }) {
  // What data coding 0 is here.
  if (charset) smpp.encodings.default = charset;
  Object.assign(state, changes);
}

function later(seconds, what) {
  setTimeout(what, seconds * 1000);
}

function submitted(session, pdu) {
  state.submitted += 1;
  const strikes = state.after === 0;
  const fault = strikes ? state.fault : "";
  if (strikes) state.fault = "";
  else state.after -= 1;
  const answer = (status, fields) => session.send(pdu.response({ command_status: status, ...fields }));
  const now = Date.now();
  state.moments = state.moments.filter((moment) => moment > now - 1000);
  if (fault === "drop_before") return session.destroy();
  if (fault === "error_before") return answer(smpp.ESME_RSYSERR);
  const refused = strikes ? state.refusals["+" + pdu.destination_addr] : undefined;
  if (refused !== undefined) return answer(refused);
  if (fault === "rate_limit" || (state.perSecond && state.moments.length >= state.perSecond)) {
    state.throttled += 1;
    return answer(smpp.ESME_RTHROTTLED);
  }
  state.moments.push(now);
  const id = state.hexIds ? (0xabc00 + state.submitted).toString(16) : String(700000 + state.submitted);
  take(pdu, id);
  if (fault === "drop_after") return session.destroy();
  if (fault === "error_after") return answer(smpp.ESME_RSYSERR);
  if (fault === "garbage") return session.socket.write(JUNK);
  if (fault === "slow") return later(state.seconds, () => answer(0, { message_id: id }));
  answer(0, { message_id: id });
}

function take(pdu, id) {
  const content = pdu.short_message && pdu.short_message.message.length ? pdu.short_message : pdu.message_payload;
  const text = {
    id, from: pdu.source_addr, to: pdu.destination_addr, body: content.message, parts: 1, coding: pdu.data_coding,
    tons: [pdu.source_addr_ton, pdu.dest_addr_ton], receipt: pdu.registered_delivery, esm: pdu.esm_class,
    validity: pdu.validity_period, payload: content === pdu.message_payload,
  };
  const header = (content.udh || []).find((element) => element[0] === 0);
  if (!header) return state.taken.push(text);
  const [, , reference, total, number] = header;
  const name = [text.from, text.to, reference, total].join();
  const parts = state.parts.get(name) || new Map();
  state.parts.set(name, parts.set(number, text));
  if (parts.size < total) return;
  state.parts.delete(name);
  const found = [...parts.keys()].sort((one, other) => one - other).map((key) => parts.get(key));
  state.taken.push({
    ...text, body: found.map((part) => part.body).join(""), parts: total, receipts: found.map((part) => part.receipt),
    sizes: found.map((part) => part.body.length),
  });
}

function pump() {
  const receiver = [...sessions].reverse().find((session) => session.receives);
  if (!receiver || state.mute) return;
  for (const delivery of state.deliveries) {
    if (delivery.done || delivery.on) continue;
    delivery.on = receiver;
    delivery.attempts += 1;
    if (delivery.raw) {
      receiver.socket.write(Buffer.from(delivery.raw, "hex"));
      delivery.done = true;
      continue;
    }
    const fields = { ...delivery.fields };
    if (fields.hex !== undefined) fields.short_message = Buffer.from(fields.hex, "hex");
    delete fields.hex;
    receiver.deliver_sm(fields, (answer) => {
      delivery.statuses.push(answer.command_status);
      delivery.on = null;
      delivery.done = answer.command_status !== smpp.ESME_RX_T_APPN;
      if (!delivery.done) later(0.1, pump);
    });
  }
}

function serve(session) {
  sessions.add(session);
  session.receives = false;
  const bind = (pdu) => {
    state.binds.push([pdu.command, pdu.system_id]);
    const known = Object.hasOwn(PASSWORDS, pdu.system_id);
    if (!known || PASSWORDS[pdu.system_id] !== pdu.password) {
      return session.send(pdu.response({ command_status: known ? smpp.ESME_RINVPASWD : smpp.ESME_RINVSYSID }));
    }
    session.bound = pdu.command;
    session.send(pdu.response({ system_id: "PEER" }));
    session.receives = pdu.command !== "bind_transmitter";
    pump();
  };
  for (const command of ["bind_transmitter", "bind_receiver", "bind_transceiver"]) session.on(command, bind);
  session.on("submit_sm", (pdu) => {
    if (session.bound === "bind_transmitter") submitted(session, pdu);
    else session.send(pdu.response({ command_status: smpp.ESME_RINVBNDSTS }));
  });
  session.on("enquire_link", (pdu) => {
    state.enquiries += 1;
    if (!state.mute) session.send(pdu.response());
  });
  session.on("unbind", (pdu) => {
    session.send(pdu.response());
    session.close();
  });
  session.on("error", () => session.destroy());
  session.on("close", () => {
    sessions.delete(session);
    for (const delivery of state.deliveries) if (delivery.on === session) delivery.on = null;
    later(0.05, pump);
  });
}

const control = {
  set,
  reset,
  deliver: (given) => {
    state.deliveries.push({ ...given, done: false, on: null, attempts: 0, statuses: [] });
    pump();
  },
  enquire: () => Promise.all([...sessions].map((session) => new Promise((heard) => session.enquire_link(() => heard())))),
  hangup: ({ how }) => {
    for (const session of [...sessions]) {
      if (how === "unbind") session.unbind(() => session.destroy());
      else session.destroy();
    }
  },
  book: () => {},
};

http
  .createServer((request, response) => {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", async () => {
      await control[request.url.slice(1)](JSON.parse(Buffer.concat(chunks).toString() || "{}"));
      response.end(
        JSON.stringify({
          taken: state.taken, halves: state.parts.size, binds: state.binds, enquiries: state.enquiries,
          submitted: state.submitted, throttled: state.throttled,
          sessions: [...sessions].map((session) => session.bound || "").sort(),
          deliveries: state.deliveries.map(({ done, attempts, statuses }) => ({ done, attempts, statuses })),
        }),
      );
    });
  })
  .listen(0, "127.0.0.1", function () {
    reset();
    const plain = smpp.createServer({}, serve);
    plain.listen(0, "127.0.0.1", () => {
      const ports = [this.address().port, plain.address().port];
      if (!process.env.KEY) return console.log(ports.join(" "));
      const files = { key: fs.readFileSync(process.env.KEY), cert: fs.readFileSync(process.env.CERT) };
      const secure = smpp.createServer(files, serve);
      secure.listen(0, "127.0.0.1", () => console.log([...ports, secure.address().port].join(" ")));
    });
  });

// Whoever started it has gone, however it went.
process.stdin.on("end", () => process.exit(0)).resume();
