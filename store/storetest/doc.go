// Package storetest proves that an engine keeps the contract of package
// store: every property its comments state and a test can see, sequentially,
// under concurrency and against a model with random operations.
//
// An engine calls Run from an external test package:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, storetest.Config{
//			New: func(t testing.TB) store.Store {
//				st, err := myengine.Open(t.TempDir())
//				require.NoError(t, err)
//				return st
//			},
//			Abilities: []storetest.Ability{storetest.Quotas, storetest.UIDLs},
//		})
//	}
//
// and Bench from a benchmark. RunReadOnly serves back ends that cannot be
// written to. The suite sees an engine through the contract alone, so that it
// serves any back end. Each check is a subtest with a store of its own.
//
// What is optional in the contract is checked where Config.Abilities declares
// it; an engine that has more or less than it declares fails.
package storetest
