// Package password keeps mail users with their passwords in a file or in
// memory, and proves them: [Users] is an auth.Authenticator for smtp.Server,
// imap.Server and pop3.Server, with SCRAM, and brings the governor that all
// servers over it share.
//
//	users := password.File("/etc/mail/users")
//	err := users.Add("bob@example.org", "correct horse")
//
// # The file
//
// It is UTF-8 text, one user a line, made to be read and edited by people as
// well: blank lines and lines that begin with # are kept where they are when
// a program changes the file.
//
//	posta-users 1 secret=Wm9…
//	# sales
//	bob@example.org password=$argon2id$… scram=SCRAM-SHA-256$… account=bob senders=bob@example.org,@example.net groups=sales
//
// The first line that is neither blank nor a comment names the format and its
// version; secret is the base64 of random octets from which the salts that
// are shown for unknown users are made (see [Users.SCRAMKeys]). Each other
// line is the user's name and then, separated by spaces or tabs, in any
// order and each at most once:
//
//	password  Argon2id in PHC form: $argon2id$v=19$m=KiB,t=passes,p=lanes$salt$hash,
//	          the last two in base64 without padding (RFC 9106); needed
//	scram     SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey in base64
//	          (after RFC 5803); without it SCRAM fails for the user
//	account   key of the account in the store; by default the name
//	senders   addresses the user may send as, separated by commas, "@domain"
//	          for all of a domain; by default the name if it is an address
//	groups    separated by commas
//
// In account, senders and groups, and in their elements, "%" and two
// hexadecimal digits stand for an octet that would be misread: space, comma,
// percent and controls. Anything else is an error: a file that cannot be read
// or understood makes every login fail as temporarily unavailable, which
// clients bear without forgetting their passwords, until it is mended.
//
// A file is replaced, never written in place: a temporary file in the same
// folder, fsync, rename, fsync of the folder. New files have mode 0600; an
// existing one's mode is kept but for the rights of others, and so is its
// owner where the process may. Programs that change it at the same time
// exclude each other by a lock on the folder (Unix). A change by anyone is
// seen within CheckEvery.
//
// # Names
//
// A name is an address or a bare word. The local part is prepared by the
// PRECIS profile UsernameCaseMapped (RFC 8265 §3.3), so case and Unicode form
// do not matter; the domain becomes A-labels in lower case. With DefaultDomain
// set, a bare name and the same name at that domain are one user.
//
// # Passwords
//
// They are prepared by SASLprep (RFC 4013, see sasl.Prep) and stored as
// Argon2id with 19 MiB and two passes, and as SCRAM-SHA-256 keys with 65,536
// iterations. Whoever steals the file attacks the weaker of the two; where
// SCRAM is not needed, leave it out with a negative Iterations and hand the
// servers [Users.WithoutSCRAM].
//
// At most MaxHashing passwords are hashed at one time, so logins cost at most
// that many times the memory of one hash (and as much again until the garbage
// collector has run). Logins with the same name and password at the same time
// share one hash, and its outcome is remembered for CacheTTL under a key of
// HMAC-SHA-256, made with a random secret of the process from name, password
// and stored hash: nothing that can be read back, and nothing that survives a
// change of the user.
//
// An unknown user costs the same hash as a wrong password and is remembered in
// the same way, so that neither the answer nor its time tells them apart. What
// the time does tell: that the very same name and password have been tried
// within the last minutes. Users whose stored hash has other parameters than
// most others in the file take another time than unknown ones; set their
// passwords anew.
package password
