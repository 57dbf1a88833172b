// Package queue keeps messages until every recipient has an answer: delivered,
// refused for good, or given up. It works on a store.Spool, which makes it
// durable, and on a Deliverer, which makes one attempt; composing notices is
// the Notifier's. What is in the queue survives the process.
//
// A message is queued as one item per destination (site), so that a slow
// domain delays nobody else's copy. Each recipient has a state of its own.
package queue
