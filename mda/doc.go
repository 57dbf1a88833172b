// Package mda is the delivery agent: it finds the account behind a recipient
// address and files the message there. It serves local delivery in process
// (Agent.Deliver) and by LMTP (Agent.LMTP).
//
// An address is looked up in four steps, the first that answers wins: an
// alias of the full address; the account of the full address; the same two for
// the address without its detail (user+folder, RFC 5233); the domain's
// catch-all. A detail that names an existing mailbox files the message there,
// except in those for what the user has sent or not sent yet.
//
// Each copy begins with Return-Path and Delivered-To, which holds the address
// as looked up. A message that has the latter field already goes round in a
// circle and is refused with 554 5.4.6 (RFC 9228).
package mda
