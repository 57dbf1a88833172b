// Package posta is a toolkit for mail systems: independent packages that are
// imported and composed. There is no configuration file and no daemon; a mail
// system is a Go program that builds values and connects them.
//
//   - smtp: server and client for SMTP, submission and LMTP
//   - imap, pop3: servers over any store
//   - mta: inbound and submission policy, queue, routing, delivery, bounces
//   - mda: local delivery: accounts, aliases, filing
//   - auth: users (SASL, password files) and, below it, SPF, DKIM, DMARC
//   - store: the mailbox contract; sqlite and memory implement it
//   - message, dns: reading messages; lookups that mail needs
//
// This root package has only Run, which starts several servers and stops
// them together, and Certificates, which reloads TLS certificates while they
// run. Start reading at examples/mailserver.
package posta
