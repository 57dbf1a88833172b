// Package mta is the transfer agent: it decides what becomes of a message.
//
// An [Agent] gives two handlers to smtp.Server. Agent.Inbound takes mail from
// the world for its own domains, checks it (SPF, DKIM, DMARC, and any [Check])
// and files it; it relays for nobody. Agent.Submission takes mail from users
// who have logged in, signs it and sends it on: to its own domains at once,
// elsewhere through the queue, which Agent.Run works off.
//
// The parts are packages of their own and can be used without this one:
// mta/queue, mta/route, mta/delivery, mta/dsn.
package mta
