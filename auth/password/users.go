package password

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/sasl"
)

// Users is a list of users with passwords, in a file ([File], [Open]) or in
// memory ([Memory]; the zero value is an empty list in memory). It implements
// auth.Authenticator, auth.SCRAMAuthenticator, auth.Governed and auth.Namer.
// Fields are set before first use and must not change afterwards. Safe for
// concurrent use; must not be copied.
type Users struct {
	// DefaultDomain lets a user log in by the bare local part: "bob" and
	// "bob@DefaultDomain" are one user. Empty: names are as they are.
	DefaultDomain string
	// Throttle is the governor shared by all servers over these users. Nil:
	// one with defaults.
	Throttle *auth.Governor
	// MaxHashing bounds the passwords hashed at one time. 0 or negative: one
	// for each CPU that Go uses, at most 8.
	MaxHashing int
	// MaxWaiting bounds the logins that wait for their turn to be hashed;
	// further ones fail with auth.ErrUnavailable. 0 or negative: 4,096.
	MaxWaiting int
	// CacheTTL is how long the outcome of a hash is remembered; that of a
	// failure for at most one minute. 0: 10 minutes; negative: not at all.
	CacheTTL time.Duration
	// CacheEntries bounds the remembered successes, and again the failures.
	// 0 or negative: 4,096 (about 100 octets each).
	CacheEntries int
	// CheckEvery is the time between looks at the file for changes. 0: 1
	// second; negative: never after it has been read.
	CheckEvery time.Duration
	// HashMemory (KiB) and HashPasses are the cost of Argon2id for passwords
	// that are set. 0 or negative: 19,456 KiB and 2. At most 262,144 and 64.
	HashMemory, HashPasses int
	// Iterations is the cost of the SCRAM keys of passwords that are set,
	// which each client pays at each login: 4,096 to 600,000. 0: 65,536, the
	// most that clients made with Cyrus SASL (Postfix among them) compute;
	// negative: no SCRAM keys are kept, see [Users.WithoutSCRAM].
	Iterations int
	// Logger gets a warning when the file cannot be used or when others may
	// read it. Nil: silence.
	Logger *slog.Logger

	path string // "" in memory

	once     sync.Once // guards the next group
	governor *auth.Governor
	cache    *cache
	slots    chan struct{}
	queued   atomic.Int64
	decoy    []byte // random; never the hash of anything
	compute  func(stored phc, password string) []byte

	mu      sync.RWMutex // guards the next group
	doc     *document    // nil before the first reading and after a failed one
	err     error
	stamp   stamp
	checked time.Time

	reading sync.Mutex // one reader of the file at a time
	writing sync.Mutex // one writer at a time
}

var (
	_ auth.SCRAMAuthenticator = (*Users)(nil)
	_ auth.Governed           = (*Users)(nil)
	_ auth.Namer              = (*Users)(nil)
)

// File returns the users kept in the file at path. It is read at first use;
// [Users.Load] tells at once what is wrong with it. A file that is not there
// is made by the first Add or Set.
func File(path string) *Users { return &Users{path: path} }

// Open is File and Load.
func Open(path string) (*Users, error) {
	u := File(path)
	return u, u.Load()
}

// Memory returns an empty list of users that is kept in memory only.
func Memory() *Users { return new(Users) }

// setup fills in the defaults.
func (u *Users) setup() {
	u.once.Do(func() {
		u.governor = u.Throttle
		if u.governor == nil {
			u.governor = new(auth.Governor)
		}
		u.cache = newCache(orDefault(u.CacheTTL, 10*time.Minute), positive(u.CacheEntries, 4096))
		u.slots = make(chan struct{}, positive(u.MaxHashing, min(8, runtime.GOMAXPROCS(0))))
		u.decoy = randomBytes(hashSize)
		if u.compute == nil {
			u.compute = phc.compute
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.path == "" {
			u.doc = newDocument()
		}
	})
}

// Governor implements auth.Governed.
func (u *Users) Governor() *auth.Governor {
	u.setup()
	return u.governor
}

// CanonicalName implements auth.Namer: the prepared name, with DefaultDomain
// if it had none. A name that cannot be prepared is returned as it is.
func (u *Users) CanonicalName(user string) string {
	name, err := canonical(user)
	if err != nil {
		return user
	}
	return u.qualified(name)
}

// Password implements auth.Authenticator. authzid must be empty or the user's
// own name, else ErrForbidden. An unknown user, a wrong password, and one
// that is longer than MaxPassword or that SASLprep refuses are all
// ErrCredentials; ErrUnavailable says that the file cannot be used, that too
// many logins are waiting, or that ctx has ended.
func (u *Users) Password(ctx context.Context, _ auth.Request, authzid, user, password string) (*auth.Identity, error) {
	u.setup()
	e, cost, err := u.find(user)
	if err != nil {
		return nil, err
	}
	// Refused before it costs anything, whoever the user is.
	prepared, err := prepare(password)
	if err != nil {
		return nil, auth.ErrCredentials
	}
	stored := phc{cost: cost, salt: u.decoy[:saltSize], hash: u.decoy}
	if e != nil {
		stored = e.hash
	}
	ok, err := u.verify(ctx, u.CanonicalName(user), prepared, stored)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", auth.ErrUnavailable, err)
	}
	if !ok || e == nil {
		return nil, auth.ErrCredentials
	}
	return u.identity(e, authzid)
}

// SCRAMKeys implements auth.SCRAMAuthenticator. For an unknown user, and for
// one without keys, it makes keys from the name and the file's secret: the
// salt is always the same, as a real one would be, after a restart too. A
// file without secret, and users in memory, have one of the process.
func (u *Users) SCRAMKeys(_ context.Context, _ auth.Request, user, hash string) (sasl.SCRAMKeys, error) {
	if hash != "SHA-256" {
		return sasl.SCRAMKeys{}, auth.ErrMechanism
	}
	u.setup()
	e, _, err := u.find(user)
	if err != nil {
		return sasl.SCRAMKeys{}, err
	}
	u.mu.RLock()
	secret, iterations := u.secret(), u.usualIterations()
	u.mu.RUnlock()
	keys := fakeKeys(secret, u.CanonicalName(user), iterations) // for everybody: equal time
	if e != nil && e.keys != nil {
		keys = *e.keys
	}
	return keys, nil
}

// Authorize implements auth.SCRAMAuthenticator.
func (u *Users) Authorize(_ context.Context, _ auth.Request, authzid, user string) (*auth.Identity, error) {
	u.setup()
	e, _, err := u.find(user)
	if err != nil {
		return nil, err
	}
	if e == nil { // removed since the exchange began
		return nil, auth.ErrCredentials
	}
	return u.identity(e, authzid)
}

// identity makes a new one, so that a caller cannot change the list.
func (u *Users) identity(e *entry, authzid string) (*auth.Identity, error) {
	login := u.qualified(e.Name)
	if authzid != "" && u.CanonicalName(authzid) != login {
		return nil, auth.ErrForbidden
	}
	return &auth.Identity{
		Account: e.Account,
		Login:   login,
		Senders: slices.Clone(e.senders(login)),
		Groups:  slices.Clone(e.Groups),
	}, nil
}

// find looks a user up; nil is unknown. cost is that of an unknown user's
// hash. The error is ErrUnavailable.
func (u *Users) find(user string) (*entry, cost, error) {
	if err := u.refresh(); err != nil {
		return nil, cost{}, fmt.Errorf("%w: %w", auth.ErrUnavailable, err)
	}
	u.mu.RLock()
	defer u.mu.RUnlock()
	if u.doc == nil {
		return nil, cost{}, auth.ErrUnavailable
	}
	usual := u.doc.usualCost
	if usual == (cost{}) {
		usual = u.cost()
	}
	name, err := canonical(user)
	if err != nil {
		return nil, usual, nil
	}
	for _, n := range u.spellings(name) {
		if e := u.doc.users[n]; e != nil {
			return e, usual, nil
		}
	}
	return nil, usual, nil
}

// secret and usualIterations need u.mu.
func (u *Users) secret() []byte {
	if u.doc != nil && len(u.doc.secret) > 0 {
		return u.doc.secret
	}
	return u.decoy
}

func (u *Users) usualIterations() int {
	if u.doc != nil && u.doc.usualIterations > 0 {
		return u.doc.usualIterations
	}
	if u.Iterations < 0 {
		return defaultIterations
	}
	return u.iterations()
}

// WithoutSCRAM returns the same users as an Authenticator that does not offer
// SCRAM, for lists that keep no SCRAM keys: clients take the strongest
// mechanism offered, and would fail.
func (u *Users) WithoutSCRAM() auth.Authenticator { return plainOnly{u} }

type plainOnly struct{ users *Users }

func (p plainOnly) Governor() *auth.Governor         { return p.users.Governor() }
func (p plainOnly) CanonicalName(user string) string { return p.users.CanonicalName(user) }
func (p plainOnly) Password(ctx context.Context, req auth.Request, authzid, user, password string) (*auth.Identity, error) {
	return p.users.Password(ctx, req, authzid, user, password)
}

func (u *Users) logger() *slog.Logger {
	if u.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return u.Logger
}

func orDefault[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

func positive(v, def int) int {
	if v <= 0 {
		return def
	}
	return v
}

// Load reads the file now, if it has changed, and tells what is wrong with
// it: what os.ReadFile returns (fs.ErrNotExist), ErrTooBig, or a *FormatError.
// In memory it does nothing.
func (u *Users) Load() error {
	u.setup()
	if u.path == "" {
		return nil
	}
	u.reading.Lock()
	defer u.reading.Unlock()
	return u.reload(time.Now())
}

// stamp tells one version of the file from another.
type stamp struct {
	info os.FileInfo
	read time.Time
	sum  [32]byte
}
