package queue

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
)

// Message is one item of the queue: a message and those of its recipients
// that share a destination and have no final answer yet.
type Message struct {
	// ID names the message; all items of one submission share it.
	ID string `json:"id"`
	// From is the reverse-path; null for notices.
	From smtp.Path `json:"from"`
	// Options are the parameters MAIL was given, passed on where the next
	// server understands them.
	Options smtp.MailOptions `json:"options"`
	// Recipients still to be delivered.
	Recipients []Recipient `json:"recipients"`
	// Arrived is when the message was accepted; Expires when it is given up.
	Arrived time.Time `json:"arrived"`
	Expires time.Time `json:"expires"`
	// Attempts counts the deliveries tried so far.
	Attempts int `json:"attempts"`
	// Delayed is set once the sender has been told of a delay.
	Delayed bool `json:"delayed,omitempty"`
	// Site is what the item is scheduled under.
	Site string `json:"-"`
	// Item is the spool's name for it.
	Item store.ItemID `json:"-"`
}

// Recipient is one recipient's state.
type Recipient struct {
	To smtp.Path `json:"to"`
	// Last is the answer to the last attempt; nil before the first.
	Last *Answer `json:"last,omitempty"`
}

// Answer is the outcome of an attempt that did not succeed.
type Answer struct {
	Code     int               `json:"code"`
	Enhanced smtp.EnhancedCode `json:"enhanced"`
	Text     string            `json:"text"`
	// Remote is the host that said so; empty if the answer is this system's.
	Remote string    `json:"remote,omitempty"`
	At     time.Time `json:"at"`
}

// Error is the answer as an error.
func (a *Answer) Error() *smtp.Error {
	return &smtp.Error{Code: a.Code, Enhanced: a.Enhanced, Text: a.Text}
}

// Paths lists the recipients' addresses.
func (m *Message) Paths() []smtp.Path {
	paths := make([]smtp.Path, len(m.Recipients))
	for i, r := range m.Recipients {
		paths[i] = r.To
	}
	return paths
}

// envelopeVersion stands in front of the JSON, so that later forms can be told
// apart.
const envelopeVersion = '1'

func encode(m *Message) ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return append([]byte{envelopeVersion}, b...), nil
}

// errEnvelope: the item was not written by this package, or by a later one.
var errEnvelope = errors.New("queue: unknown envelope")

func decode(e *store.SpoolEntry) (*Message, error) {
	if len(e.Envelope) == 0 || e.Envelope[0] != envelopeVersion {
		return nil, errEnvelope
	}
	m := new(Message)
	if err := json.Unmarshal(e.Envelope[1:], m); err != nil {
		return nil, fmt.Errorf("%w: %w", errEnvelope, err)
	}
	m.Site, m.Item = e.Site, e.ID
	return m, nil
}
