package password

import (
	"encoding/base64"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/sasl"
)

// tries is how often each of two classes is measured.
const tries = 2000

// leak is the |t| from which on two classes are taken to differ: by chance it is
// reached once in 100,000 times.
const leak = 4.5

// welch is the t of Welch's test for the times of two classes, without what
// lies above the 90th percentile of both together: what the machine did
// meanwhile.
func welch(a, b []float64) float64 {
	all := slices.Sorted(slices.Values(slices.Concat(a, b)))
	cut := all[len(all)*9/10]
	stat := func(x []float64) (mean, variance, n float64) {
		for _, v := range x {
			if v <= cut {
				mean += v
				n++
			}
		}
		mean /= n
		for _, v := range x {
			if v <= cut {
				variance += (v - mean) * (v - mean)
			}
		}
		return mean, variance / (n - 1), n
	}
	ma, va, na := stat(a)
	mb, vb, nb := stat(b)
	return (ma - mb) / math.Sqrt(va/na+vb/nb)
}

// measure tries both classes in random order.
func measure(tries int, try func(class, i int)) float64 {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var times [2][]float64
	order := make([]int, 0, 2*tries)
	for range tries {
		order = append(order, 0, 1)
	}
	rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for i := range 100 {
		try(i%2, i)
	}
	for n, class := range order {
		if n%250 == 0 {
			runtime.GC()
		}
		began := time.Now()
		try(class, len(times[class]))
		times[class] = append(times[class], float64(time.Since(began)))
	}
	return welch(times[0], times[1])
}

// differs measures until nothing is seen, up to three times: a machine's mood
// passes, a leak stays. It returns the smallest |t|.
func differs(tries int, try func(class, i int)) float64 {
	least := math.Inf(1)
	for range 3 {
		if least = min(least, math.Abs(measure(tries, try))); least < leak {
			break
		}
	}
	return least
}

// cheapest are hashes of the schemes with the least work.
var cheapest = map[string]string{
	"bcrypt":       "$2y$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e",
	"sha512-crypt": "$6$rounds=1000$roundstoolow$kUMsbe306n21p9R.FRkW3IGn.S9NPN0x50YhH1xhLsPuWGsUSklZt58jaTfF4ZEQpyUNGc0dqbpBYYBaHHrsX.",
	"sha256-crypt": "$5$rounds=1000$salt$MfMmx75s1RRYBW4vGZOqQtiJpBiiLOC3zpvEcfmhKc2",
	"scrypt":       "$scrypt$ln=5,r=8,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
	"PBKDF2":       "{PBKDF2}$1$mHdVLROnvizJ1isO$100$c7ff4cbf7096f9bdfdec3d9ba195c46afc680579",
	"SSHA":         "{SSHA}26zJZHb/JsxxpWz63KT023FT9tQWHvum",
}

// people is how many users there are. Of nobody there are more names: each is
// dealt a scheme.
const people = 50

// names are of the same length, the users' in class 0.
func names(class, i int) string {
	return fmt.Sprintf("%s%04d@example.org", []string{"user", "none"}[class], i%[]int{people, 10_000}[class])
}

// crowd fills a list with users whose passwords are kept in one of the ways.
func crowd(t testing.TB, hashes ...string) *Users {
	u := cheap(Memory())
	u.CacheTTL, u.ReadOnly, u.OfferSCRAM = -1, true, true
	u.Throttle = &auth.Governor{Off: true}
	for i := range people {
		if hash := hashes[i%len(hashes)]; hash != "" {
			require.NoError(t, u.SetHash(User{Name: names(0, i)}, hash))
		} else {
			require.NoError(t, u.Add(names(0, i), "correct horse"))
		}
	}
	return u
}

// login is one try by the mechanism, "" for the commands of IMAP and POP3.
func login(t testing.TB, u *Users, mechanism, name, password string, want error) {
	l := auth.NewLogin(u, nil, true)
	req := auth.Request{Service: auth.IMAP, Mechanism: mechanism}
	var err error
	switch mechanism {
	case "":
		_, err = l.Password(t.Context(), req, name, password)
	case sasl.Plain:
		_, err = l.Converse(t.Context(), req, []byte("\x00"+name+"\x00"+password), nil)
	default:
		x, e := l.Start(t.Context(), req)
		require.NoError(t, e)
		var m []byte
		m, _, err = x.Next(t.Context(), []byte("n,,n="+name+",r=0123456789abcdef"))
		if password != "" { // a proof that is none
			nonce, _, _ := strings.Cut(string(m), ",")
			_, _, err = x.Next(t.Context(), []byte("c=biws,"+nonce+",p="+base64.StdEncoding.EncodeToString([]byte(password))))
		}
	}
	require.ErrorIs(t, err, want)
}

// leaks are ways to give unknown users away: no hash for them, and one that is
// a fourth cheaper.
var leaks = map[string]func(stored, string) bool{
	"no hash": func(st stored, p string) bool { return st.text != "" && st.matches(p) },
	"a cheaper hash": func(st stored, p string) bool {
		if st.text == "" {
			st.a = st.a * 3 / 4
		}
		return st.matches(p)
	},
}

func wrong(i int) string { return fmt.Sprintf("wrong horse %06d", i) }

// control is the measurement for a list that leaks.
func control(t *testing.T, name string, tries int) {
	u := crowd(t, "")
	u.check = leaks[name]
	got := differs(tries, func(class, i int) { login(t, u, sasl.Plain, names(class, i), wrong(i), auth.ErrCredentials) })
	t.Logf("%s: |t| = %.2f", t.Name(), got)
	assert.Greater(t, got, leak)
}

// The measurement of TestTiming can fail.
func TestTimingControl(t *testing.T) { control(t, "no hash", 300) }

// Whether there is such a user cannot be told from the time of an answer
// (OWASP calls it user enumeration): Welch's t for an unknown user against a wrong
// password, over the whole way through auth.Login, with hashes that cost next to
// nothing, so that what is beside them shows.
func TestTiming(t *testing.T) {
	if os.Getenv("POSTA_TIMING") == "" {
		return // half a minute, and a busy machine may have it fail; see .ci/run
	}
	appLike := func(int) string { return randomText(appGroups) }
	type row struct {
		name      string
		users     *Users
		mechanism string
		password  func(int) string
	}
	ours := crowd(t, "")
	apps := crowd(t, "")
	for i := range people {
		for range 3 {
			_, _, err := apps.AddApp(names(0, i), App{Name: "x", Scopes: []auth.Service{auth.IMAP}})
			require.NoError(t, err)
		}
	}
	only := crowd(t, "")
	for i := range people {
		require.NoError(t, only.Set(User{Name: names(0, i), AppsOnly: true}, "correct horse"))
	}
	rows := []row{
		{"PLAIN", ours, sasl.Plain, wrong},
		{"LOGIN command", ours, "", wrong},
		{"app passwords, a wrong one", apps, sasl.Plain, appLike},
		{"app passwords, a wrong password", apps, sasl.Plain, wrong},
		{"app passwords only, the user's own", only, sasl.Plain, func(int) string { return "correct horse" }},
		{"migrated, all of it", crowd(t, "", cheapest["bcrypt"], cheapest["sha512-crypt"], "", cheapest["sha256-crypt"]), sasl.Plain, wrong},
	}
	for _, name := range slices.Sorted(maps.Keys(cheapest)) {
		rows = append(rows, row{"migrated " + name, crowd(t, cheapest[name]), sasl.Plain, wrong})
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			got := differs(tries, func(class, i int) {
				login(t, r.users, r.mechanism, names(class, i), r.password(i), auth.ErrCredentials)
			})
			t.Logf("%s: |t| = %.2f", t.Name(), got)
			assert.Less(t, got, leak)
		})
	}
	for name, u := range map[string]*Users{"keys": ours, "keys of apps": apps, "no keys": crowd(t, cheapest["bcrypt"])} {
		t.Run("SCRAM "+name, func(t *testing.T) {
			got := differs(tries, func(class, i int) { login(t, u, sasl.SCRAMSHA256, names(class, i), "", nil) })
			t.Logf("%s: |t| = %.2f", t.Name(), got)
			assert.Less(t, got, leak)
		})
		t.Run("SCRAM proof "+name, func(t *testing.T) {
			got := differs(tries, func(class, i int) {
				login(t, u, sasl.SCRAMSHA256, names(class, i), fmt.Sprintf("%032d", i), auth.ErrCredentials)
			})
			t.Logf("%s: |t| = %.2f", t.Name(), got)
			assert.Less(t, got, leak)
		})
	}
	t.Run("two steps", func(t *testing.T) {
		got := differs(tries, func(class, i int) {
			_, err := ours.TwoStep(t.Context(), auth.Request{}, names(class, i), wrong(i), "123456")
			require.ErrorIs(t, err, auth.ErrCredentials)
		})
		t.Logf("%s: |t| = %.2f", t.Name(), got)
		assert.Less(t, got, leak)
	})
	for _, name := range slices.Sorted(maps.Keys(leaks)) {
		t.Run("leaky control, "+name, func(t *testing.T) { control(t, name, tries) })
	}
}
