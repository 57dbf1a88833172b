package imap

import "github.com/posta-mail/posta/imap/internal/wire"

// command is one row of the table of commands.
type command struct {
	// states in which the command is allowed.
	states state
	traits traits
	// needs is the capability that the command belongs to: without it there is
	// no such command. Empty: always there.
	needs string
	run   func(*session, *wire.Parser) reply
}

// traits say what holds for a command whatever it does.
type traits uint8

const (
	// refresh: what others changed, EXPUNGE excepted, is told before the
	// command runs, so that it sees the mailbox as it is. Not before STORE: the
	// client would take flags as they were before for those afterwards. All
	// commands tell when they end.
	refresh traits = 1 << iota
	// removes: EXPUNGE may be told when the command ends. Never during FETCH,
	// STORE and SEARCH (RFC 9051 §7.5.1), whose answers are by number.
	removes
	// numbers: the command names messages by number, which UIDONLY forbids (RFC
	// 9586 §3.1).
	numbers
	// streams: the command reads its literals itself, and begins while APPENDs
	// before it are still to be answered.
	streams
	// ahead: the command begins while those before it are still to be answered,
	// and settles by itself if it must wait for them.
	ahead
)

// commands is the table of all commands by their names.
var commands = map[string]command{
	// In any state.
	"CAPABILITY": {stateAny, removes, "", (*session).capability},
	"NOOP":       {stateAny, removes, "", (*session).noop},
	"LOGOUT":     {stateAny, 0, "", (*session).logout},
	"ID":         {stateAny, removes, "ID", (*session).identify},

	// Getting in.
	"STARTTLS":     {stateGuest, 0, "", (*session).startTLS},
	"AUTHENTICATE": {stateGuest, 0, "", (*session).authenticate},
	"LOGIN":        {stateGuest, 0, "", (*session).loginCommand},

	// Sessions.
	"COMPRESS":       {stateKnown, 0, "COMPRESS=DEFLATE", (*session).compress},
	"ENABLE":         {stateKnown, removes, "ENABLE", (*session).enable},
	"UNAUTHENTICATE": {stateKnown, 0, "UNAUTHENTICATE", (*session).unauthenticate},
	"GETJMAPACCESS":  {stateKnown, removes, "JMAPACCESS", (*session).getJMAPAccess},
	"IDLE":           {stateKnown, removes, "IDLE", (*session).idle},
	"NOTIFY":         {stateKnown, removes, "NOTIFY", (*session).notifyCommand},

	// Mailboxes.
	"CREATE":      {stateKnown, removes, "", (*session).create},
	"DELETE":      {stateKnown, removes, "", (*session).delete},
	"RENAME":      {stateKnown, removes, "", (*session).rename},
	"SUBSCRIBE":   {stateKnown, removes, "", (*session).subscribe},
	"UNSUBSCRIBE": {stateKnown, removes, "", (*session).unsubscribe},
	"LIST":        {stateKnown, removes, "", (*session).list},
	"LSUB":        {stateKnown, removes, "", (*session).lsub},
	"NAMESPACE":   {stateKnown, removes, "NAMESPACE", (*session).namespace},
	"STATUS":      {stateKnown, refresh | removes, "", (*session).status},

	// Rights, quotas and metadata.
	"SETACL":       {stateKnown, removes, "ACL", (*session).setACL},
	"DELETEACL":    {stateKnown, removes, "ACL", (*session).deleteACL},
	"GETACL":       {stateKnown, removes, "ACL", (*session).getACL},
	"LISTRIGHTS":   {stateKnown, removes, "ACL", (*session).listRights},
	"MYRIGHTS":     {stateKnown, removes, "ACL", (*session).myRights},
	"GETQUOTA":     {stateKnown, removes, "QUOTA", (*session).getQuota},
	"GETQUOTAROOT": {stateKnown, removes, "QUOTA", (*session).getQuotaRoot},
	"SETQUOTA":     {stateKnown, removes, "QUOTA", (*session).setQuota},
	"GETMETADATA":  {stateKnown, removes, "METADATA", (*session).getMetadata},
	"SETMETADATA":  {stateKnown, removes, "METADATA", (*session).setMetadata},

	// The selected mailbox.
	"SELECT":   {stateKnown, removes, "", (*session).selectMailbox},
	"EXAMINE":  {stateKnown, removes, "", (*session).examine},
	"CHECK":    {stateSelected, removes, "", (*session).check},
	"CLOSE":    {stateSelected, 0, "", (*session).close},
	"UNSELECT": {stateSelected, 0, "UNSELECT", (*session).unselect},

	"UIDBATCHES": {stateSelected, removes, "UIDBATCHES", (*session).uidBatches},

	// Searching.
	"CANCELUPDATE": {stateSelected, removes, "CONTEXT=SEARCH", (*session).cancelUpdate},
	"ESEARCH":      {stateKnown, refresh | removes, "MULTISEARCH", (*session).multiSearch},
	"SEARCH":       {stateSelected, refresh | numbers, "", (*session).search},
	"UID SEARCH":   {stateSelected, refresh | removes, "", (*session).uidSearch},
	"SORT":         {stateSelected, refresh | numbers, "SORT", (*session).sort},
	"UID SORT":     {stateSelected, refresh | removes, "SORT", (*session).uidSort},
	"THREAD":       {stateSelected, refresh | numbers, "", (*session).thread},
	"UID THREAD":   {stateSelected, refresh | removes, "", (*session).uidThread},

	// Fetching and changing messages.
	"FETCH":       {stateSelected, refresh | numbers, "", (*session).fetch},
	"UID FETCH":   {stateSelected, refresh | removes, "", (*session).uidFetch},
	"STORE":       {stateSelected, numbers, "", (*session).store},
	"UID STORE":   {stateSelected, removes | ahead, "", (*session).uidStore},
	"COPY":        {stateSelected, removes | numbers, "", (*session).copy},
	"UID COPY":    {stateSelected, removes, "", (*session).uidCopy},
	"MOVE":        {stateSelected, removes | numbers, "MOVE", (*session).move},
	"UID MOVE":    {stateSelected, removes, "MOVE", (*session).uidMove},
	"EXPUNGE":     {stateSelected, removes, "", (*session).expunge},
	"UID EXPUNGE": {stateSelected, removes, "UIDPLUS", (*session).uidExpunge},

	// Adding messages.
	"REPLACE":     {stateSelected, removes | numbers | streams, "REPLACE", (*session).replace},
	"UID REPLACE": {stateSelected, removes | streams, "REPLACE", (*session).uidReplace},
	"RESETKEY":    {stateKnown, removes, "URLAUTH", (*session).resetKey},
	"GENURLAUTH":  {stateKnown, removes, "URLAUTH", (*session).genURLAuth},
	"URLFETCH":    {stateKnown, removes, "URLAUTH", (*session).urlFetch},
	"APPEND":      {stateKnown, removes | streams, "", (*session).appendMessage},
}
