package password

import (
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
)

// RFC 4226 appendix D.
func TestHOTP(t *testing.T) {
	h := TOTP{Secret: []byte("12345678901234567890")}
	for i, want := range strings.Fields("755224 287082 359152 969429 338314 254676 287922 162583 399871 520489") {
		assert.Equal(t, want, h.HOTP(uint64(i)))
	}
}

// RFC 6238 appendix B, with the seeds of its program: as long as the hash.
func TestTOTP(t *testing.T) {
	for _, v := range []struct {
		at   int64
		hash string
		want string
	}{
		{59, "SHA1", "94287082"}, {59, "SHA256", "46119246"}, {59, "SHA512", "90693936"},
		{1111111109, "SHA1", "07081804"}, {1111111109, "SHA256", "68084774"}, {1111111109, "SHA512", "25091201"},
		{1111111111, "SHA1", "14050471"}, {1111111111, "SHA256", "67062674"}, {1111111111, "SHA512", "99943326"},
		{1234567890, "SHA1", "89005924"}, {1234567890, "SHA256", "91819424"}, {1234567890, "SHA512", "93441116"},
		{2000000000, "SHA1", "69279037"}, {2000000000, "SHA256", "90698825"}, {2000000000, "SHA512", "38618901"},
		{20000000000, "SHA1", "65353130"}, {20000000000, "SHA256", "77737706"}, {20000000000, "SHA512", "47863826"},
	} {
		size := map[string]int{"SHA1": 20, "SHA256": 32, "SHA512": 64}[v.hash]
		seed := []byte(strings.Repeat("1234567890", 7)[:size])
		o := TOTP{Secret: seed, Hash: v.hash, Digits: 8}
		at := time.Unix(v.at, 0)
		assert.Equal(t, v.want, o.Code(at), "%d %s", v.at, v.hash)
		step, ok := o.Verify(v.want, at, 0)
		assert.True(t, ok)
		assert.Equal(t, v.at/30, step)
	}
	for _, bad := range []TOTP{
		{}, {Secret: make([]byte, 9)}, {Secret: make([]byte, 65)}, {Secret: make([]byte, 20), Hash: "MD5"}, {Secret: make([]byte, 20), Digits: 5},
		{Secret: make([]byte, 20), Digits: 9}, {Secret: make([]byte, 20), Period: time.Millisecond}, {Secret: make([]byte, 20), Period: 2 * time.Hour}, {Secret: make([]byte, 20), Period: -time.Second},
	} {
		assert.Empty(t, bad.Code(time.Now()), "%v", bad)
		assert.Empty(t, bad.HOTP(1))
		_, ok := bad.Verify("", time.Now(), 0)
		assert.False(t, ok, "%v", bad)
	}
	secret := NewTOTP()
	assert.NotContains(t, fmt.Sprintf("%v %+v %#v %s", secret, secret, secret, secret), hex.EncodeToString(secret.Secret))
}

func TestTOTPWindow(t *testing.T) {
	o := NewTOTP()
	now := time.Unix(1_800_000_015, 0)
	for steps, want := range map[int]bool{-2: false, -1: true, 0: true, 1: true, 2: false} {
		code := o.Code(now.Add(time.Duration(steps) * 30 * time.Second))
		step, ok := o.Verify(" "+code[:3]+" "+code[3:], now, 0)
		assert.Equal(t, want, ok, steps)
		if ok {
			assert.Equal(t, o.step(now)+int64(steps), step)
			_, again := o.Verify(code, now, step)
			assert.False(t, again, "a code was good twice")
			_, older := o.Verify(o.Code(now.Add(-30*time.Second)), now, step)
			assert.False(t, older, "a code older than the one used")
		}
	}
	for _, code := range []string{"", "0", strings.Repeat("0", 100), "abcdef"} {
		_, ok := o.Verify(code, now, 0)
		assert.False(t, ok)
	}
	_, ok := o.Verify(o.Code(time.Unix(0, 0)), time.Unix(-5, 0), -1)
	assert.True(t, ok, "before 1970")
}

func TestOTPAuthURI(t *testing.T) {
	o := TOTP{Secret: []byte("12345678901234567890")}
	uri := o.URI("Example Mail: A/B", "bob@example.org")
	assert.Equal(t, "otpauth://totp/Example%20Mail-%20A-B:bob@example.org?algorithm=SHA1&digits=6&issuer=Example%20Mail-%20A-B&period=30&secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", uri)
	got, issuer, account, err := ParseTOTP(uri)
	require.NoError(t, err)
	assert.Equal(t, o.settled(), got)
	assert.Equal(t, "Example Mail- A-B", issuer)
	assert.Equal(t, "bob@example.org", account)

	// The example of the format's description, and what others leave out.
	got, issuer, account, err = ParseTOTP("otpauth://totp/ACME%20Co:%20john.doe@email.com?secret=hxdmvjecjjwsrb3hwizr4ifugftmxboz&algorithm=sha256&digits=8&period=60")
	require.NoError(t, err)
	assert.Equal(t, "ACME Co", issuer)
	assert.Equal(t, "john.doe@email.com", account)
	assert.Equal(t, TOTP{Secret: got.Secret, Hash: "SHA256", Digits: 8, Period: time.Minute}, got)
	_, issuer, account, err = ParseTOTP("otpauth://totp/bob?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ====&image=x")
	require.NoError(t, err)
	assert.Empty(t, issuer)
	assert.Equal(t, "bob", account)

	for _, bad := range []string{
		"", "https://totp/x?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", "otpauth://hotp/x?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
		"otpauth://totp/x", "otpauth://totp/x?secret=1", "otpauth://totp/x?secret=GEZDGNBV", "otpauth:totp/x?secret=GEZDGNBVGY3TQOJQ",
		"otpauth://totp/x?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&digits=0", "otpauth://totp/x?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&digits=10",
		"otpauth://totp/x?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&period=99999999999", "otpauth://totp/x?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&algorithm=MD5",
		"otpauth://totp/x?secret=%zz", "otpauth://totp/" + strings.Repeat("x", 3000),
	} {
		_, _, _, err := ParseTOTP(bad)
		require.ErrorIs(t, err, ErrTOTP, bad)
		assert.NotContains(t, err.Error(), "GEZDGNBV")
	}
}

func TestTwoStep(t *testing.T) {
	for _, file := range []bool{false, true} {
		t.Run(fmt.Sprint("file ", file), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "users")
			synctest.Test(t, func(t *testing.T) {
				u := Memory()
				if file {
					u = File(path)
				}
				cheap(u).Throttle = &auth.Governor{BaseDelay: -1, AccountFailures: 20}
				require.NoError(t, u.Add("bob", "secret"))
				o := NewTOTP()
				o.Hash, o.Digits = "SHA256", 8
				_, err := u.SetTOTP("bob", TOTP{}, "123456")
				require.ErrorIs(t, err, ErrTOTP)
				_, err = u.SetTOTP("bob", o, "123456")
				require.ErrorIs(t, err, ErrCode)
				_, err = u.NewRecoveryCodes("bob")
				require.ErrorIs(t, err, ErrTOTP)
				first := o.Code(time.Now())
				recovery, err := u.SetTOTP("Bob", o, first)
				require.NoError(t, err)
				require.Len(t, recovery, recoveryCodes)

				try := func(user, password, code string) error {
					_, err := u.TwoStep(t.Context(), from("web", "192.0.2.1"), user, password, code)
					return err
				}
				require.ErrorIs(t, try("bob", "secret", ""), ErrCodeNeeded)
				require.ErrorIs(t, try("bob", "wrong", ""), auth.ErrCredentials)
				require.ErrorIs(t, try("eve", "secret", ""), auth.ErrCredentials)
				require.ErrorIs(t, try("", "secret", ""), auth.ErrCredentials)
				require.ErrorIs(t, try("bob", "secret", first), auth.ErrCredentials, "the code of the enrolment is spent")
				time.Sleep(30 * time.Second)
				code := o.Code(time.Now())
				require.ErrorIs(t, try("bob", "wrong", code), auth.ErrCredentials)
				require.NoError(t, try("bob", "secret", code))
				require.ErrorIs(t, try("bob", "secret", code), auth.ErrCredentials, "a code was good twice")
				require.NoError(t, try("bob", "secret", strings.ToUpper(recovery[3])))
				require.ErrorIs(t, try("bob", "secret", recovery[3]), auth.ErrCredentials, "a recovery code was good twice")
				require.NoError(t, try("bob", "secret", recovery[0]))
				require.ErrorIs(t, try("bob", "secret", "aaaa-aaaa-aaaa-aaaa-aaaa"), auth.ErrCredentials)

				fresh, err := u.NewRecoveryCodes("bob")
				require.NoError(t, err)
				require.ErrorIs(t, try("bob", "secret", recovery[1]), auth.ErrCredentials)
				require.NoError(t, try("bob", "secret", fresh[1]))

				// All stay when the user is changed.
				require.NoError(t, u.Set(User{Name: "bob"}, "other"))
				require.ErrorIs(t, try("bob", "other", ""), ErrCodeNeeded)

				// Guesses at codes are counted.
				for range 30 {
					err = try("bob", "other", "00000000")
				}
				require.ErrorIs(t, err, auth.ErrThrottled)
				time.Sleep(24 * time.Hour)
				require.NoError(t, u.RemoveTOTP("bob"))
				require.NoError(t, try("bob", "other", ""))
				require.ErrorIs(t, u.RemoveTOTP("eve"), ErrUnknown)
			})
		})
	}
}

// One code opens one door, however many processes are asked at the same time.
func TestTwoStepRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	o := NewTOTP()
	require.NoError(t, cheap(File(path)).Add("bob", "secret"))
	recovery, err := cheap(File(path)).SetTOTP("bob", o, o.Code(time.Now()))
	require.NoError(t, err)
	for range 3 {
		var in atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			u := cheap(File(path))
			u.Throttle = &auth.Governor{Off: true}
			require.NoError(t, u.Load())
			wg.Go(func() {
				if _, err := u.TwoStep(t.Context(), auth.Request{}, "bob", "secret", recovery[0]); err == nil {
					in.Add(1)
				} else {
					assert.ErrorIs(t, err, auth.ErrCredentials)
				}
			})
		}
		wg.Wait()
		assert.EqualValues(t, 1, in.Load())
		recovery = recovery[1:]
	}
}

func FuzzTOTPURI(f *testing.F) {
	f.Add(TOTP{Secret: []byte("12345678901234567890")}.URI("Example", "bob@example.org"))
	f.Add("otpauth://totp/a:b?secret=GEZDGNBVGY3TQOJQ&digits=8&period=60&algorithm=SHA512&issuer=x")
	f.Fuzz(func(t *testing.T, uri string) {
		o, issuer, account, err := ParseTOTP(uri)
		if err != nil {
			return
		}
		require.NotEmpty(t, o.Code(time.Unix(1, 0)))
		again, issuer2, account2, err := ParseTOTP(o.URI(issuer, account))
		if len(issuer)+len(account) > 300 {
			return // escapes make it longer
		}
		require.NoError(t, err)
		require.Equal(t, o, again)
		plain := strings.NewReplacer(":", "-", "/", "-")
		require.Equal(t, plain.Replace(issuer), issuer2)
		require.Equal(t, strings.TrimSpace(plain.Replace(account)), account2)
	})
}
