package arc

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/posta-mail/posta/auth/authres"
	"github.com/posta-mail/posta/auth/dkim"
)

// maxInstance is the highest number of a set (RFC 8617 §4.2.1).
const maxInstance = 50

// set is the three fields of one instance; what is missing is nil.
type set struct {
	resultsField  []byte
	results       *authres.Header
	message, seal *signature
	messageErr    error
	sealErr       error
}

// chain is the sets of a message: that of instance i is sets[i-1], up to the
// highest instance that occurs.
type chain struct {
	sets []set
	err  error // why the structure is not valid, a *SetError
}

// fail keeps the first reason.
func (c *chain) fail(instance int, field string, err error) {
	if c.err == nil {
		c.err = &SetError{instance, field, err}
	}
}

// at returns the set of an instance from 1 to 50.
func (c *chain) at(instance int) *set {
	for len(c.sets) < instance {
		c.sets = append(c.sets, set{})
	}
	return &c.sets[instance-1]
}

// newest returns the highest set of a chain that has one.
func (c *chain) newest() *set { return &c.sets[len(c.sets)-1] }

// sealedAsFailed: nothing can be said nor added any more (RFC 8617 §5.1, §5.2).
func (c *chain) sealedAsFailed() bool {
	return len(c.sets) > 0 && c.newest().seal != nil && c.newest().seal.cv == StatusFail
}

// collect finds the sets of a complete header and checks their structure (RFC
// 8617 §5.2, steps 1 to 3).
func collect(h *dkim.Header, maxSets int) *chain {
	c := new(chain)
	results := h.Fields(strings.ToLower(nameResults))
	messages := h.Fields(strings.ToLower(nameMessage))
	seals := h.Fields(strings.ToLower(nameSeal))
	if max(len(results), len(messages), len(seals)) > maxSets {
		c.err = &SetError{Err: ErrTooManySets}
		return c
	}
	for _, f := range seals {
		s, err := parseSeal(f)
		c.addSignature(s, err, nameSeal)
	}
	for _, f := range messages {
		s, err := parseMessage(f)
		c.addSignature(s, err, nameMessage)
	}
	for _, f := range results {
		c.addResults(f)
	}
	if c.sealedAsFailed() { // of all reasons the one that cannot be mended
		c.err = &SetError{len(c.sets), nameSeal, ErrMarkedFailed}
	}
	c.check()
	if len(c.sets) > 0 && len(h.Fields("from")) > 1 {
		// RFC 6376 §8.15: the one that is signed may not be the one that is shown.
		c.fail(len(c.sets), "", dkim.ErrFromCount)
	}
	return c
}

func (c *chain) addSignature(s *signature, err error, name string) {
	if s.instance == 0 {
		if err == nil {
			err = ErrInstance
		}
		c.fail(0, name, err)
		return
	}
	st := c.at(s.instance)
	place, placeErr := &st.message, &st.messageErr
	if name == nameSeal {
		place, placeErr = &st.seal, &st.sealErr
	}
	if *place != nil {
		err = ErrDuplicate
	} else {
		*place = s
	}
	if err != nil {
		*placeErr = err
		c.fail(s.instance, name, err)
	}
}

func (c *chain) addResults(field []byte) {
	_, body, _ := bytes.Cut(field, []byte(":"))
	// What the results say is for whoever trusts the sealer; their syntax is no
	// part of the chain's.
	i, h, err := authres.ParseARC(string(body))
	if i < 1 || i > maxInstance {
		c.fail(0, nameResults, fmt.Errorf("%w: %w", ErrInstance, err))
		return
	}
	st := c.at(i)
	if st.resultsField != nil {
		c.fail(i, nameResults, ErrDuplicate)
		return
	}
	st.resultsField, st.results = field, h
}

// check looks for gaps, for what is missing, and at cv=.
func (c *chain) check() {
	for i := range c.sets {
		s, n := &c.sets[i], i+1
		if s.seal == nil && s.message == nil && s.resultsField == nil {
			c.fail(n, "", ErrIncomplete)
		}
		if s.seal == nil {
			s.sealErr = ErrIncomplete
		} else if s.sealErr == nil {
			s.sealErr = s.seal.checkPlace()
		}
		if s.sealErr != nil {
			c.fail(n, nameSeal, s.sealErr)
		}
		if s.message == nil {
			s.messageErr = ErrIncomplete
			c.fail(n, nameMessage, ErrIncomplete)
		}
		if s.resultsField == nil {
			c.fail(n, nameResults, ErrIncomplete)
		}
	}
}

// checkPlace checks whether cv= of a seal is what its instance demands.
func (s *signature) checkPlace() error {
	want := StatusPass
	if s.instance == 1 {
		want = StatusNone
	}
	switch s.cv {
	case want:
		return nil
	case StatusFail:
		return ErrMarkedFailed
	}
	return ErrChainValue
}
