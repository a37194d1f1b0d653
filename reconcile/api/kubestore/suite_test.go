package kubestore

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/apitesting"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/apis/example"
	examplev1 "k8s.io/apiserver/pkg/apis/example/v1"
	"k8s.io/apiserver/pkg/storage"
	suite "k8s.io/apiserver/pkg/storage/testing"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var podKind = schema.GroupKind{Group: example.GroupName, Kind: "Pod"}

// forgetful is a store that can be told to have forgotten what was before a revision.
type forgetful struct {
	*store.Memory
	floor atomic.Uint64
}

func (f *forgetful) Since(from store.Revision, q store.Query) (store.Batch, error) {
	if from < store.Revision(f.floor.Load()) {
		return store.Batch{}, store.ErrCompacted
	}
	return f.Memory.Since(from, q)
}

func (f *forgetful) At(r store.Revision) (*store.Snapshot, error) {
	if r < store.Revision(f.floor.Load()) {
		return nil, store.ErrCompacted
	}
	return f.Memory.At(r)
}

// forget is what the suite calls a compaction. It counts on that to be a write.
func (f *forgetful) forget(ctx context.Context, t *testing.T, resourceVersion string) {
	r, err := store.ParseRevision(resourceVersion)
	if err != nil {
		t.Fatal(err)
	}
	f.floor.Store(uint64(r))
	f.touch(ctx, t)
}

// touch moves the revision on, with a change of another kind.
func (f *forgetful) touch(ctx context.Context, t *testing.T) int64 {
	r, err := f.Update(ctx, "move on", func(tx *store.Tx) error {
		return tx.Create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("m%d", tx.Revision())}})
	})
	if err != nil {
		t.Fatal(err)
	}
	return int64(r)
}

func exampleCodec(t testing.TB) runtime.Codec {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, metav1.SchemeGroupVersion)
	for _, add := range []func(*runtime.Scheme) error{example.AddToScheme, examplev1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return apitesting.TestCodec(serializer.NewCodecFactory(scheme), examplev1.SchemeGroupVersion)
}

func encoder(c runtime.Codec) func(store.Object) ([]byte, error) {
	return func(o store.Object) ([]byte, error) { return runtime.Encode(c, o) }
}

func exampleKinds() store.Kinds {
	kinds := store.Kinds{}
	kinds.Add(podKind.WithVersion("v1"), &example.Pod{})
	kinds.Add(corev1.SchemeGroupVersion.WithKind("ConfigMap"), &corev1.ConfigMap{})
	return kinds
}

// newStorage makes a Storage of example pods on an empty store, at a revision that is not 0. The store panics when
// somebody writes to an object of its.
func newStorage(t testing.TB, change ...func(*Config)) (*Storage, *forgetful) {
	t.Helper()
	memory, err := store.Open(store.NewVolatile(exampleKinds()), exampleKinds(), store.Options{Guard: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := memory.Close(); err != nil {
			t.Error(err)
		}
	})
	f := &forgetful{Memory: memory}
	if _, err := f.Update(context.Background(), "begin", func(tx *store.Tx) error {
		return tx.Create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "first"}})
	}); err != nil {
		t.Fatal(err)
	}
	c := Config{Store: f, Kind: podKind, Prefix: "/pods", Encode: encoder(exampleCodec(t)), Bookmarks: time.Second,
		New: func() runtime.Object { return &example.Pod{} }}
	for _, ch := range change {
		ch(&c)
	}
	return New(c), f
}

// prefixed satisfies the functions of the suite that can replace a transformer. Objects are not kept as bytes: nothing is
// transformed, and what such a function expects of its transformer does not happen. See the list below.
type prefixed struct{ *Storage }

func (prefixed) UpdatePrefixTransformer(modify suite.PrefixTransformerModifier) func() {
	modify(suite.NewPrefixTransformer(nil, false))
	return func() {}
}

// named gives objects the names that their keys have: some functions of the suite do not, but the store knows an object
// by its name.
type named struct{ *Storage }

func (n named) GuaranteedUpdate(ctx context.Context, key string, out runtime.Object, ignoreNotFound bool,
	pre *storage.Preconditions, try storage.UpdateFunc, cached runtime.Object) error {
	return n.Storage.GuaranteedUpdate(ctx, key, out, ignoreNotFound, pre,
		func(in runtime.Object, m storage.ResponseMeta) (runtime.Object, *uint64, error) {
			o, ttl, err := try(in, m)
			if err == nil {
				k := n.split(key)
				o.(*example.Pod).Namespace, o.(*example.Pod).Name = k.Namespace, k.Name
			}
			return o, ttl, err
		}, cached)
}

// The functions of the suite that do not apply, and why:
//
//   - CreateWithTTL, GuaranteedUpdateWithTTL: what expires is swept out of the store by its kind, not by a time to live.
//   - GuaranteedUpdateWithConflict: it renames a stored object. TestAnUpdateThatMeetsAnotherIsTriedAgain.
//   - KeySchema: most rows store objects without a name. TestKeysAreRefusedAsUpstreamRefusesThem.
//   - PreconditionalDelete*: they change the UID of a stored object, which the store refuses. TestAPreconditionIsChecked.
//   - GuaranteedUpdate, GuaranteedUpdateChecksStoredData: rows of them need a transformer that calls its data stale.
//     TestAnUpdateThatChangesNothingWritesNothing.
//   - TransformationFailure, WatchError, WatchErrorIsBlockingFurtherEvents, GetListWithErrorAggregation,
//     GetListWithoutErrorAggregation, DeleteExpectedTransformOrDecodeError and its two relatives, WatchWithUnsafeDelete:
//     they inject failures of transforming or decoding into reads, and reads do neither.
//   - CompactRevision: the store forgets by itself and does not say how far.
//   - WatchBookmarksWithCorrectResourceVersion: it relies on the bookmark period of the watch cache.
//   - Stats with sizes: objects have no size in bytes.
func TestTheStorageSuiteOfApiserverPasses(t *testing.T) {
	type run = func(context.Context, *testing.T, *Storage, *forgetful)
	plain := func(f func(context.Context, *testing.T, storage.Interface)) run {
		return func(ctx context.Context, t *testing.T, s *Storage, _ *forgetful) { f(ctx, t, s) }
	}
	unread := func(t *testing.T, _, _ uint64) {} // there are no reads to count
	for name, f := range map[string]run{
		"Create": func(ctx context.Context, t *testing.T, s *Storage, f *forgetful) {
			suite.RunTestCreate(ctx, t, s, func(_ context.Context, t *testing.T, key string) {
				if _, ok := f.Snapshot().Get(s.split(key)); !ok {
					t.Errorf("%s is not in the store", key)
				}
			})
		},
		"CreateWithKeyExist":                      plain(suite.RunTestCreateWithKeyExist),
		"Get":                                     plain(suite.RunTestGet),
		"UnconditionalDelete":                     plain(suite.RunTestUnconditionalDelete),
		"ConditionalDelete":                       plain(suite.RunTestConditionalDelete),
		"DeleteWithSuggestion":                    plain(suite.RunTestDeleteWithSuggestion),
		"DeleteWithSuggestionAndConflict":         plain(suite.RunTestDeleteWithSuggestionAndConflict),
		"DeleteWithConflict":                      plain(suite.RunTestDeleteWithConflict),
		"DeleteWithSuggestionOfDeletedObject":     plain(suite.RunTestDeleteWithSuggestionOfDeletedObject),
		"ValidateDeletionWithSuggestion":          plain(suite.RunTestValidateDeletionWithSuggestion),
		"ValidateDeletionWithOnlySuggestionValid": plain(suite.RunTestValidateDeletionWithOnlySuggestionValid),
		"List": func(ctx context.Context, t *testing.T, s *Storage, f *forgetful) {
			suite.RunTestList(ctx, t, s, f.forget, false, &suite.KubernetesRecorder{})
		},
		"ConsistentList": func(ctx context.Context, t *testing.T, s *Storage, f *forgetful) {
			suite.RunTestConsistentList(ctx, t, s, f.touch, false, true, false)
		},
		"GetListNonRecursive": func(ctx context.Context, t *testing.T, s *Storage, f *forgetful) {
			suite.RunTestGetListNonRecursive(ctx, t, f.touch, s)
		},
		"GetListRecursivePrefix": plain(suite.RunTestGetListRecursivePrefix),
		"ListContinuation": func(ctx context.Context, t *testing.T, s *Storage, _ *forgetful) {
			suite.RunTestListContinuation(ctx, t, s, unread)
		},
		"ListPaginationRareObject": func(ctx context.Context, t *testing.T, s *Storage, _ *forgetful) {
			suite.RunTestListPaginationRareObject(ctx, t, s, unread)
		},
		"ListContinuationWithFilter": func(ctx context.Context, t *testing.T, s *Storage, _ *forgetful) {
			suite.RunTestListContinuationWithFilter(ctx, t, s, unread)
		},
		"ListInconsistentContinuation": func(ctx context.Context, t *testing.T, s *Storage, f *forgetful) {
			suite.RunTestListInconsistentContinuation(ctx, t, named{s}, f.forget)
		},
		"ListResourceVersionMatch": func(ctx context.Context, t *testing.T, s *Storage, _ *forgetful) {
			suite.RunTestListResourceVersionMatch(ctx, t, prefixed{s})
		},
		"GuaranteedUpdateWithSuggestionAndConflict": plain(suite.RunTestGuaranteedUpdateWithSuggestionAndConflict),
		"Stats": func(ctx context.Context, t *testing.T, s *Storage, _ *forgetful) {
			suite.RunTestStats(ctx, t, s, exampleCodec(t), identity.NewEncryptCheckTransformer(), false)
		},
		"ListPaging":          plain(suite.RunTestListPaging),
		"NamespaceScopedList": plain(suite.RunTestNamespaceScopedList),
		"Watch":               plain(suite.RunTestWatch),
		"WatchFromZero": func(ctx context.Context, t *testing.T, s *Storage, f *forgetful) {
			suite.RunTestWatchFromZero(ctx, t, s, f.forget)
		},
		"DeleteTriggerWatch":                 plain(suite.RunTestDeleteTriggerWatch),
		"WatchFromNonZero":                   plain(suite.RunTestWatchFromNonZero),
		"DelayedWatchDelivery":               plain(suite.RunTestDelayedWatchDelivery),
		"WatchContextCancel":                 plain(suite.RunTestWatchContextCancel),
		"WatcherTimeout":                     plain(suite.RunTestWatcherTimeout),
		"WatchDeleteEventObjectHaveLatestRV": plain(suite.RunTestWatchDeleteEventObjectHaveLatestRV),
		"WatchInitializationSignal":          plain(suite.RunTestWatchInitializationSignal),
		"ProgressNotify": func(ctx context.Context, t *testing.T, s *Storage, f *forgetful) {
			suite.RunOptionalTestProgressNotify(ctx, t, s, f.touch)
		},
		"ClusterScopedWatch":   plain(suite.RunTestClusterScopedWatch),
		"NamespaceScopedWatch": plain(suite.RunTestNamespaceScopedWatch),
		"WatchDispatchBookmarkEvents": func(ctx context.Context, t *testing.T, s *Storage, _ *forgetful) {
			suite.RunTestWatchDispatchBookmarkEvents(ctx, t, s, true)
		},
		"SendInitialEventsBackwardCompatibility": plain(suite.RunSendInitialEventsBackwardCompatibility),
		"WatchSemantics":                         plain(suite.RunWatchSemantics),
		"WatchSemanticInitialEventsExtended":     plain(suite.RunWatchSemanticInitialEventsExtended),
		"WatchListMatchSingle":                   plain(suite.RunWatchListMatchSingle),
	} {
		t.Run(name, func(t *testing.T) {
			s, memory := newStorage(t)
			f(t.Context(), t, s, memory)
		})
	}
}
