package password

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posta-mail/posta/auth"
)

// Users is a list of users with passwords, in a file ([File], [Open]) or in
// memory ([Memory]; the zero value is an empty list in memory). It implements
// auth.Authenticator, auth.SCRAMAuthenticator, auth.SCRAMHasher, auth.Governed
// and auth.Namer.
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
	// negative: no SCRAM keys are kept, and SCRAM is not offered.
	Iterations int
	// MoreSCRAM are hashes that SCRAM keys are kept for beside SHA-256: "SHA-1"
	// for old clients, "SHA-512". Others mean nothing. Nil: none.
	MoreSCRAM []string
	// OfferSCRAM offers SCRAM also while some users have no keys for it, who
	// then cannot log in with a client that prefers it. False: a hash is
	// offered once all have keys.
	OfferSCRAM bool
	// ReadOnly says that logins write nothing: neither stronger hashes nor
	// the last use of app passwords. Methods that change the list still do.
	ReadOnly bool
	// WriteUses is the time after which the last uses of app passwords are
	// written to the file, all in one. 0 or negative: 10 minutes.
	WriteUses time.Duration
	// Logger gets a warning when the file cannot be used or when others may
	// read it. Nil: silence.
	Logger *slog.Logger

	path     string        // "" in memory
	patience time.Duration // for the file's lock; 0: lockWait

	once     sync.Once // guards the next group
	governor *auth.Governor
	cache    *cache
	slots    chan struct{}
	queued   atomic.Int64
	decoy    []byte // random: the secret of a list that has none
	nobody   *entry // stands for unknown users where equal work is needed
	noApp    *app   // and for app passwords that a user doesn't have
	check    func(st stored, password string) bool

	mu      sync.RWMutex // guards the next group
	doc     *document    // nil before the first reading and after a failed one
	err     error
	stamp   stamp
	checked time.Time

	reading sync.Mutex // one reader of the file at a time
	writing sync.Mutex // one writer at a time

	later later
}

var (
	_ auth.SCRAMAuthenticator = (*Users)(nil)
	_ auth.SCRAMHasher        = (*Users)(nil)
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
		u.decoy = randomBytes(32)
		u.nobody, u.noApp = &entry{keys: nothing()}, &app{keys: nothing()}
		if u.check == nil {
			u.check = stored.matches
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

// Password implements auth.Authenticator. password is the user's own or one of
// their app passwords. authzid must be empty or the user's own name, else
// ErrForbidden, which is also what an app password gets that is not for
// req.Service. An unknown user, a wrong password, and one
// that is longer than MaxPassword or that SASLprep refuses are all
// ErrCredentials, and so is the user's own where AppsOnly is set; ErrUnavailable
// says that the file cannot be used, that too many logins are waiting, or that
// ctx has ended.
func (u *Users) Password(ctx context.Context, req auth.Request, authzid, user, password string) (*auth.Identity, error) {
	u.setup()
	w, err := u.find(user)
	if err != nil {
		return nil, err
	}
	if a := w.appOf(password); a != nil {
		if !a.allows(req.Service) {
			return nil, auth.ErrForbidden
		}
		if err := u.used(w.Name, a, req); err != nil {
			return nil, err
		}
		return u.identity(w.entry, authzid)
	}
	ok, err := u.own(ctx, w, password)
	// Refused after the same work, so that nobody learns from it that the
	// password is right.
	if err == nil && (!ok || w.AppsOnly) {
		err = auth.ErrCredentials
	}
	if err != nil {
		return nil, err
	}
	return u.identity(w.entry, authzid)
}

// own tells whether password is the user's own, and has it hashed anew when it
// should be. An unknown user's never is, after the same work.
func (u *Users) own(ctx context.Context, w *who, password string) (bool, error) {
	// Refused before it costs anything, whoever the user is.
	prepared, err := prepare(password)
	if err != nil {
		return false, auth.ErrCredentials
	}
	st := decoy(w.cost) // for everybody: equal time
	if w.entry != nil {
		st = w.hash
	}
	form := prepared
	if st.foreign {
		form = password // other programs have hashed what was sent
	}
	ok, err := u.verify(ctx, w.name, form, st)
	if err != nil {
		return false, fmt.Errorf("%w: %w", auth.ErrUnavailable, err)
	}
	if ok = ok && w.entry != nil; ok {
		u.renew(w.entry, prepared)
	}
	return ok, nil
}

// identity makes a new one, so that a caller cannot change the list.
func (u *Users) identity(e *entry, authzid string) (*auth.Identity, error) {
	login := u.qualified(e.Name)
	if authzid != "" && authzid != login && u.CanonicalName(authzid) != login {
		return nil, auth.ErrForbidden
	}
	return &auth.Identity{
		Account: e.Account,
		Login:   login,
		Senders: slices.Clone(e.senders(login)),
		Groups:  slices.Clone(e.Groups),
	}, nil
}

// who is what is known of a name.
type who struct {
	*entry        // nil: unknown
	name   string // canonical
	// like is the user, and for an unknown one somebody: what is done with it is
	// done for the time it takes.
	like   *entry
	secret []byte
	cost   cost // that of a check of an unknown user's password
	scram  scramCost
}

// find looks a user up. What it does for a user it does for everybody. The
// error is ErrUnavailable.
func (u *Users) find(user string) (*who, error) {
	if err := u.refresh(); err != nil {
		return nil, fmt.Errorf("%w: %w", auth.ErrUnavailable, err)
	}
	name, err := canonical(user)
	if err != nil {
		name = user
	}
	u.mu.RLock()
	defer u.mu.RUnlock()
	if u.doc == nil {
		return nil, auth.ErrUnavailable
	}
	w := &who{name: u.qualified(name), secret: u.secret(), cost: u.cost()}
	w.scram = scramCost{defaultIterations, saltSize}
	if u.Iterations > 0 {
		w.scram.iterations = u.Iterations
	}
	if kind, ok := u.doc.costs.draw(w.secret, "cost", w.name); ok {
		w.cost = kind
	}
	if kind, ok := u.doc.scram.draw(w.secret, "scram", w.name); ok {
		w.scram = kind
	}
	w.like = u.nobody
	if n := len(u.doc.list); n > 0 {
		sum := keyed(w.secret, "like", w.name, "")
		w.like = u.doc.list[binary.BigEndian.Uint64(sum)%uint64(n)]
	}
	if err != nil {
		return w, nil // no name at all
	}
	for _, n := range u.spellings(name) {
		if e := u.doc.users[n]; e != nil {
			w.entry, w.like = e, e
			break
		}
	}
	return w, nil
}

// secret needs u.mu.
func (u *Users) secret() []byte {
	if u.doc != nil && len(u.doc.secret) > 0 {
		return u.doc.secret
	}
	return u.decoy
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

func positive[T int | time.Duration](v, def T) T {
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
