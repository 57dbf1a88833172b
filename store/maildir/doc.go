// Package maildir keeps mail in Maildir++ folders, one for each account, that
// other programs (Dovecot, mutt, mbsync, procmail) may read, deliver to, flag
// and delete from at the same time. Any number of processes may open it.
//
//	st, err := maildir.Open("/var/mail/posta")
//	err = st.CreateAccount(ctx, "anna@example.org")
//
// # On disk
//
// An account is a folder of the root named after it (see AccountFolder). It is
// the INBOX; other mailboxes are its sub-folders ".Lists.Go", in modified
// UTF-7 or UTF-8 (Options.UTF8), levels separated by dots. A dot, and a
// backslash, inside a level is written "\2e" and "\5c", as Dovecot's listescape
// plugin does. Names whose folder would exceed 255 octets are refused.
// Subscriptions are in Dovecot's file "subscriptions", the letters of keywords
// in "dovecot-keywords". A file "posta-mailbox" in a mailbox's folder holds its
// identity, so that it stays the same mailbox when another program renames it.
//
// A message is a file in new/ or cur/, named time.unique.host,S=octets,W=octets
// with CRLF:2,flags. It is written in tmp/, synced, and moved: to new/, or to
// cur/ if it has flags. Files that others deliver without CR are read with CRLF;
// sizes and offsets speak of what is read. Files that Posta placed are read as
// they were placed, whatever their line ends.
//
// The sub-folder "posta" holds what Maildir has no place for: the index (an
// SQLite database) with UIDs, mod-sequences, dates and history; expunged
// messages until their grace time is over; the lock. Its loss loses no mail:
// mailboxes then get a new UIDVALIDITY, from the files. A folder never opened
// before is taken over with the UIDs of its dovecot-uidlist.
//
// # Other programs
//
// A change in a folder shows in its modification time, so that a mailbox
// without changes costs a few calls of stat. A file is known by its name up to the
// colon, whatever its flags; a new one gets the next UID, and one that is in
// neither folder at a time when neither is changing has been expunged. After
// changes of its own the engine looks for those of others less often where a
// folder is large: at most a twentieth of the time is spent on that.
//
// Twenty-six keywords of a mailbox have letters; further ones are in the index
// alone, and other programs do not see them. \Seen, \Answered, \Flagged,
// \Deleted and \Draft are S, R, F, T and D; $Forwarded is also P. Letters that
// mean nothing here are kept.
//
// # What is left out
//
// There is no Spool: keep the queue in another store. There are no annotations
// and so no private \Seen: an account opens for its owner only.
package maildir
