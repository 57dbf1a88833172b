package imap

import "github.com/posta-mail/posta/imap/internal/wire"

// command is one row of the table of commands.
type command struct {
	// states in which the command is allowed.
	states state
	// refresh: what others changed, EXPUNGE excepted, is told before the
	// command runs, so that it sees the mailbox as it is. Not before STORE: the
	// client would take flags as they were before for those afterwards. All
	// commands tell when they end.
	refresh bool
	// expunge: EXPUNGE may be told when the command ends. Never during FETCH,
	// STORE and SEARCH (RFC 9051 §7.5.1), whose answers are by number.
	expunge bool
	run     func(*session, *wire.Parser) reply
}

// commands is the table of all commands by their names.
var commands = map[string]command{
	"CAPABILITY":   {stateAny, false, true, (*session).capability},
	"NOOP":         {stateAny, false, true, (*session).noop},
	"LOGOUT":       {stateAny, false, false, (*session).logout},
	"ID":           {stateAny, false, true, (*session).identify},
	"STARTTLS":     {stateGuest, false, false, (*session).startTLS},
	"AUTHENTICATE": {stateGuest, false, false, (*session).authenticate},
	"LOGIN":        {stateGuest, false, false, (*session).loginCommand},

	"ENABLE":      {stateKnown, false, true, (*session).enable},
	"SELECT":      {stateKnown, false, true, (*session).selectMailbox},
	"EXAMINE":     {stateKnown, false, true, (*session).examine},
	"CREATE":      {stateKnown, false, true, (*session).create},
	"DELETE":      {stateKnown, false, true, (*session).delete},
	"RENAME":      {stateKnown, false, true, (*session).rename},
	"SUBSCRIBE":   {stateKnown, false, true, (*session).subscribe},
	"UNSUBSCRIBE": {stateKnown, false, true, (*session).unsubscribe},
	"LIST":        {stateKnown, false, true, (*session).list},
	"LSUB":        {stateKnown, false, true, (*session).lsub},
	"NAMESPACE":   {stateKnown, false, true, (*session).namespace},
	"STATUS":      {stateKnown, true, true, (*session).status},
	"APPEND":      {stateKnown, false, true, (*session).appendMessage},
	"IDLE":        {stateKnown, false, true, (*session).idle},

	"CHECK":       {stateSelected, false, true, (*session).check},
	"CLOSE":       {stateSelected, false, false, (*session).close},
	"UNSELECT":    {stateSelected, false, false, (*session).unselect},
	"EXPUNGE":     {stateSelected, false, true, (*session).expunge},
	"UID EXPUNGE": {stateSelected, false, true, (*session).uidExpunge},
	"SEARCH":      {stateSelected, true, false, (*session).search},
	"UID SEARCH":  {stateSelected, true, true, (*session).uidSearch},
	"FETCH":       {stateSelected, true, false, (*session).fetch},
	"UID FETCH":   {stateSelected, true, true, (*session).uidFetch},
	"STORE":       {stateSelected, false, false, (*session).store},
	"UID STORE":   {stateSelected, false, true, (*session).uidStore},
	"COPY":        {stateSelected, false, true, (*session).copy},
	"UID COPY":    {stateSelected, false, true, (*session).uidCopy},
	"MOVE":        {stateSelected, false, true, (*session).move},
	"UID MOVE":    {stateSelected, false, true, (*session).uidMove},
}
