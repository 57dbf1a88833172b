// Package mda is the delivery agent: it finds the account behind a recipient
// address and files the message there. It serves local delivery in process
// (Agent.Deliver) and by LMTP (Agent.LMTP).
//
// An address is looked up in four steps, the first that answers wins: an
// alias of the full address; the account of the full address; the same two for
// the address without its detail (user+folder, RFC 5233); the domain's
// catch-all. A detail that names an existing mailbox files the message there.
package mda
