// Package srs rewrites the senders of forwarded mail (Sender Rewriting Scheme,
// as Shevek's paper and libsrs2 define it), so that the forwarder passes SPF at
// the next hop and a bounce finds its way back.
//
// A forwarder sends on behalf of a domain whose SPF record does not list it.
// It therefore uses an address of its own, in which the original sender is
// encoded with a time stamp and a keyed hash:
//
//	r := &srs.Rewriter{Domain: "fwd.example", Secrets: [][]byte{secret}}
//	sender, err := r.Forward("alice@a.example") // SRS0=31Vv=JM=a.example=alice@fwd.example
//	alice, err := r.Reverse(sender)             // of a bounce's recipient
//
// The hash keeps strangers from using the forwarder as a relay to any address,
// the time stamp makes what has leaked worthless after some weeks. Hash and
// form are those of libsrs2 and postsrsd: forwarders that share a secret
// understand one another. That hash has no mark between domain and local part:
// who sends through the forwarder as mceo@bank.co holds an address that leads to
// ceo@bank.com, too. To take mail for rewritten addresses from the null sender
// alone narrows that to what looks like a bounce.
//
// DMARC needs a DKIM signature that survives the forwarding beside it: the
// rewritten sender is not aligned with the author (RFC 9989 §4.4).
package srs
