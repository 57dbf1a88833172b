package srs_test

import (
	"fmt"
	"time"

	"github.com/posta-mail/posta/auth/srs"
)

func Example() {
	r := &srs.Rewriter{
		Domain: "fwd.example", Secrets: [][]byte{[]byte("at least 16 random octets")},
		Clock: func() time.Time { return time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC) },
	}
	sender, err := r.Forward("alice@a.example")
	fmt.Println(sender, err)
	back, err := r.Reverse(sender) // the recipient of a bounce
	fmt.Println(back, err)
	_, err = r.Reverse("SRS0=AAAA=NB=a.example=anybody@fwd.example")
	fmt.Println(err)
	// Output:
	// SRS0=31Vv=JM=a.example=alice@fwd.example <nil>
	// alice@a.example <nil>
	// srs: wrong hash
}
