// Package password keeps mail users with their passwords in a file or in
// memory, and proves them: [Users] is an auth.Authenticator for smtp.Server,
// imap.Server and pop3.Server, with SCRAM, app passwords for devices, and TOTP for
// programs that can ask for a second step. It brings the governor that all
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
//	password   the hash of the password, see below; needed
//	scram      SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey in base64
//	           (after RFC 5803), and the like for SHA-512 and SHA-1, separated
//	           by commas; without it SCRAM fails for the user
//	account    key of the account in the store; by default the name
//	senders    addresses the user may send as, separated by commas, "@domain"
//	           for all of a domain; by default the name if it is an address
//	groups     separated by commas
//	apps-only  "yes": mail programs need an app password
//	apps       app passwords, separated by commas; the fields of each, by
//	           semicolons: ID, name, services separated by "+" (none: all),
//	           times of creation and last use, last address, hash, and SCRAM
//	           keys separated by "|"
//	totp       hash:digits:seconds:secret in base32:last step that was used
//	recovery   hashes of recovery codes, separated by commas
//
// In names of app passwords, account, senders and groups, and in their elements,
// "%" and two hexadecimal digits stand for an octet that would be misread: space,
// comma, semicolon, percent and controls. Anything else is an error: a file that
// cannot be read or understood makes every login fail as temporarily
// unavailable, which clients bear without forgetting their passwords, until it is
// mended.
//
// A file is replaced, never written in place: a temporary file in the same
// folder, fsync, rename, fsync of the folder. New files have mode 0600; an
// existing one's mode is kept but for the rights of others, and so is its
// owner where the process may; what its group may is kept only with the group.
// Programs that change it at the same time
// exclude each other by a lock on the folder (Unix), for which they wait up to ten
// seconds; what an editor saves
// without that lock while the new file is being made is found out before the rename,
// and the change made again on top of it. What a crash leaves of a temporary
// file is removed by the next change. A change by anyone is seen within
// CheckEvery.
//
// Whoever has the file can try passwords, and read the TOTP secrets.
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
// Argon2id with 19 MiB and two passes (RFC 9106), and as SCRAM keys with 65,536
// iterations. Whoever steals the file attacks the weaker of the two; where
// SCRAM is not needed, leave it out with a negative Iterations.
//
// At most MaxHashing passwords are hashed at one time, so logins cost at most
// that many times the memory of one hash (and as much again until the garbage
// collector has run). Logins with the same name and password at the same time
// share one hash, and its outcome is remembered for CacheTTL under a key of
// HMAC-SHA-256, made with a random secret of the process from name, password
// and stored hash: nothing that can be read back, and nothing that survives a
// change of the user.
//
// # Users of other programs
//
// [Users.SetHash], or a person with an editor, brings users with the hashes that
// other programs have stored, of passwords as they were sent:
//
//	$argon2id$v=19$m=KiB,t=passes,p=lanes$salt$hash, and argon2i
//	$2a$, $2b$, $2y$ (bcrypt), $5$ and $6$ (SHA-256- and SHA-512-crypt), $7$ (scrypt)
//	$scrypt$ln=,r=,p=$salt$hash, $pbkdf2$, $pbkdf2-sha256$, $pbkdf2-sha512$ as passlib has them
//	{ARGON2ID} {ARGON2I} {BLF-CRYPT} {CRYPT} {SHA256-CRYPT} {SHA512-CRYPT} {PBKDF2}
//	{SSHA} {SSHA256} {SSHA512} as Dovecot and LDAP servers have them
//
// A cost of more than 256 MiB, 2,000,000 rounds or 2^16 (bcrypt) is an error. When such a
// user logs in with the password, it is hashed anew, and SCRAM keys are made
// of it, after the login and without it waiting: one password at a time, many
// written together, each only if the user still is as they were. The same
// happens when HashMemory, HashPasses or Iterations have risen. Until all users
// have SCRAM keys it is not offered, as clients that prefer it try nothing else (see
// OfferSCRAM).
//
// # App passwords and second steps
//
// [Users.AddApp] makes a password for one device: random, for chosen services,
// with the time and address of its last use, and taken back on its own. With
// AppsOnly mail programs need one, and the user's own password is for programs
// that can ask for more: [Users.TwoStep] proves a user by it and a [TOTP] code.
//
// # What strangers learn
//
// Whether there is such a user tells neither the answer nor its time: an unknown
// name costs the same work as a wrong password, and is remembered in the same
// way. Hashes of different schemes take different times, and so does the number of
// SCRAM iterations differ, while users are being migrated. Therefore unknown names are
// dealt the kinds that users have, in the same proportion, always the same
// for the same name: a name whose answer takes bcrypt's time may be a user's who has not
// logged in yet, or nobody's. A stranger can see a name move from one kind to
// another; when a user logs in for the first time theirs does, and so do some
// names of nobody. All passwords of a user share one SCRAM salt, which is made of
// the name, and is the same before there is a user.
//
// What the time does tell: that the very same name and password have been tried
// within the last minutes, and, to whoever has the right password, all they ask.
package password
