package store

import "fmt"

// operation is what an actor wants to do to somebody else's mailbox.
type operation uint8

const (
	opOpen     operation = iota // have it at all, and ask for one's rights
	opList                      // find it in a list
	opRead                      // read messages and counts
	opFlag                      // change flags, as far as rightFor permits each
	opInsert                    // add messages, with the flags that rightFor permits
	opExpunge                   // remove messages
	opMove                      // take messages away to another mailbox, or replace them
	opCreate                    // make a mailbox below it
	opDelete                    // delete it
	opRename                    // take its name away; opCreate above the new one
	opACL                       // read and change its rights
	opMetadata                  // read and change its metadata
	operations
)

// needs is what each operation needs: all of some rights, and one of others
// where there are any. It is the only place that says so (RFC 4314 §4).
var needs = [operations]struct {
	all, any Rights
}{
	opOpen:     {any: RightLookup | RightRead | RightInsert | RightCreate | RightDelete | RightAdmin}, // as MYRIGHTS
	opList:     {all: RightLookup},
	opRead:     {all: RightRead},
	opFlag:     {all: RightRead, any: rightFlags},
	opInsert:   {all: RightInsert},
	opExpunge:  {all: RightRead | RightExpunge},
	opMove:     {all: RightRead | RightMark | RightExpunge}, // RFC 6851 §4.2: as STORE, COPY and EXPUNGE
	opCreate:   {all: RightCreate},
	opDelete:   {all: RightDelete},
	opRename:   {all: RightDelete},
	opACL:      {all: RightAdmin},
	opMetadata: {all: RightLookup, any: RightRead | RightSeen | RightWrite | RightInsert | RightPost}, // RFC 5464 §3.3
}

// permit decides about an operation: nil, ErrReadOnly, or, for a mailbox that
// the actor must not learn of, what there would be without it: ErrNotFound (RFC
// 4314 §6). Who may read a mailbox without finding it in a list knows of it,
// but is told nothing about its rights.
func (r Rights) permit(op operation) error {
	n := needs[op]
	known := RightLookup | RightRead
	if op == opACL {
		known = RightLookup
	}
	switch {
	case r.Has(n.all) && (n.any == 0 || r.HasAny(n.any)):
		if op == opACL && !r.HasAny(known) {
			return ErrNotFound
		}
		return nil
	case r.HasAny(known):
		return denied()
	}
	return ErrNotFound
}

func denied() error { return fmt.Errorf("%w: no right", ErrReadOnly) }
