// A CB_Server made of npm's soap, which shares no code with the connector that is tested against it.
//
// node cb_server.js WSDL USER PASSWORD HEARD: serves the definitions, prints its port, and writes what it understood of each
// call to the file HEARD before it answers, a line of JSON a call. It ends with its input. What an account's number begins with
// says what becomes of it.
"use strict";

const fs = require("fs");
const http = require("http");
const soap = require("soap");

const [definitions, user, password, heard] = process.argv.slice(2);
const PATH = "/services/CB";
const NAMESPACE = "http://www.multispeak.org/Version_3.0";

const FAULTS = {
  9200: { faultcode: "soap:Server", faultstring: "fell over", statusCode: 200 },
  9400: { faultcode: "soap:Client", faultstring: "authorizationCode is too long", statusCode: 500 },
  9500: { faultcode: "soap:Server", faultstring: "fell over", statusCode: 500 },
};

function kind(account) {
  return account.slice(0, 4);
}

function hear(operation, body, header) {
  fs.appendFileSync(heard, JSON.stringify({ operation, header: header.MultiSpeakMsgHeader.attributes, body }) + "\n");
  const { UserID, Pwd } = header.MultiSpeakMsgHeader.attributes;
  if (UserID !== user || Pwd !== password) {
    throw { Fault: { faultcode: "soap:Server", faultstring: "Invalid UserID or Pwd", statusCode: 500 } };
  }
}

function fail(accounts) {
  const fault = accounts.map((account) => FAULTS[kind(account)]).find(Boolean);
  if (fault) throw { Fault: { ...fault } };
}

function echo(transaction) {
  const tender = Object.keys(transaction).find((name) => name.endsWith("Payment"));
  const [{ tender: { amount, authorizationCode } }] = transaction[tender];
  const said = { amount, authorizationCode, responseCode: "Success" };
  if (kind(transaction.accountNumber) === "9404") {
    said.responseCode = "Failure";
    said.attributes = { errorString: "account is closed" };
  }
  if (kind(transaction.accountNumber) === "9405") said.responseCode = "Error";
  return { accountNumber: transaction.accountNumber, [tender]: { tender: said } };
}

// What a list of errors says: something, something without words, nothing because it is not there, or nothing.
function errors(account) {
  if (kind(account) === "9404") return { errorObject: [{ attributes: { objectID: account, errorString: "account is closed" } }] };
  if (kind(account) === "9405") return { errorObject: [{ attributes: { objectID: account, errorString: "" } }] };
  return kind(account) === "9204" ? undefined : {};
}

function extensions(...items) {
  return { extensionsItem: items.map(([extName, extValue]) => ({ extName, extValue })) };
}

function owed(account) {
  if (kind(account) === "9204") return undefined;
  if (kind(account) === "9404") return { attributes: { errorString: "account is closed" } };
  if (kind(account) === "9333") {
    const extensionsList = extensions(["remainingBalance", "4.93"], ["remainingDays", "1.5"]);
    return { extensionsList, payableItem: [{ currentAmount: 0 }] };
  }
  const dueDate = "2026-12-01T00:00:00-06:00";
  const paid = { lastPaymentAmount: 1234.5, lastPaymentDate: "2026-11-20T23:30:00-06:00" };
  return {
    extensionsList: extensions(["preventCreditCard", "Y"]),
    payableItem: [
      { pastDueAmount: 12.5, currentAmount: 84.1, description: "Electric", chargeCode: "E", dueDate, ...paid },
      { currentAmount: -4, description: "Deposit" },
    ],
    allowableTransactionTypes: { transactionType: ["creditCardPayment", "Cash Only"] },
  };
}

const operations = {
  CommitPaymentTransaction(body, callback, header) {
    hear("CommitPaymentTransaction", body, header);
    const transactions = body.transactions.paymentTransaction;
    fail(transactions.map((transaction) => transaction.accountNumber));
    const taken = transactions.filter((transaction) => kind(transaction.accountNumber) !== "9204");
    // Backwards: an answer need not keep our order.
    return { CommitPaymentTransactionResult: { paymentTransaction: taken.map(echo).reverse() } };
  },
  ModifyCBDataForCustomer(body, callback, header) {
    hear("ModifyCBDataForCustomer", body, header);
    const [account] = body.customerData.customer.map((customer) => customer.attributes.objectID);
    fail([account]);
    return { ModifyCBDataForCustomerResult: errors(account) };
  },
  WriteAccountHistoryComments(body, callback, header) {
    hear("WriteAccountHistoryComments", body, header);
    const [account] = body.comments.historyComment.map((comment) => comment.customerID);
    fail([account]);
    return { WriteAccountHistoryCommentsResult: errors(account) };
  },
  GetPayableItemsList(body, callback, header) {
    hear("GetPayableItemsList", body, header);
    fail([body.accountNumber]);
    return { GetPayableItemsListResult: owed(body.accountNumber) };
  },
  PingURL(body, callback, header) {
    hear("PingURL", body, header);
    return { PingURLResult: {} };
  },
  GetMethods(body, callback, header) {
    hear("GetMethods", body, header);
    return { GetMethodsResult: { string: Object.keys(operations) } };
  },
};

const server = http.createServer();
const services = { CB_Server: { CB_ServerSoap: operations } };
server.listen(0, "127.0.0.1", () => {
  const xml = fs.readFileSync(definitions, "utf8");
  const options = { path: PATH, services, xml, uri: definitions, suppressStack: true };
  options.callback = (error) => {
    if (error) throw error;
    process.stdout.write(`http://127.0.0.1:${server.address().port}${PATH}\n`);
  };
  soap.listen(server, options).addSoapHeader(`<MultiSpeakMsgHeader xmlns="${NAMESPACE}" Version="3.0" AppName="soap"/>`);
});
process.stdin.on("end", () => process.exit(0)).resume();
