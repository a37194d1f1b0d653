package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion of the kinds in this package.
var GroupVersion = schema.GroupVersion{Group: "mainstay.dev", Version: "v1alpha1"}

// A GitSource is a Git repository whose manifests are kept applied.
//
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
type GitSource struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   GitSourceSpec   `json:"spec"`
	Status GitSourceStatus `json:"status,omitempty"`
}

// GitSourceSpec says what to follow, and how.
type GitSourceSpec struct {
	// URL of the repository: https://, http://, ssh://, user@host:path, file:///path (a bare repository, or a folder with
	// or without .git), or builtin:NAME for a repository that lives in Mainstay and is pushed to.
	URL string `json:"url"`
	// Ref to follow. Defaults to the branch main.
	Ref GitRef `json:"ref,omitempty"`
	// Path is the folder in the repository to read. Defaults to all of it.
	Path string `json:"path,omitempty"`
	// Interval between looks at the repository, when nothing else tells of a new commit. Defaults to 1m. What is live is
	// kept as Git has it by event, whatever the interval.
	Interval *metav1.Duration `json:"interval,omitempty"`
	// Auth names the Secret to log in with, in this namespace.
	Auth *GitAuth `json:"auth,omitempty"`
	// Webhook names the Secret whose key "token" signs the requests to /hooks/NAMESPACE/NAME.
	Webhook *corev1.LocalObjectReference `json:"webhook,omitempty"`
	// Namespace for manifests that name none. Defaults to "default".
	Namespace string `json:"namespace,omitempty"`
	// Allow limits what this source may bring. Empty lists allow all.
	Allow *GitAllow `json:"allow,omitempty"`
	// Prune deletes what left the repository. Defaults to true.
	Prune *bool `json:"prune,omitempty"`
	// Suspend stops following the repository, and putting back what was changed by hand.
	Suspend bool `json:"suspend,omitempty"`
	// DriftPolicy says what becomes of changes by others to what this source brings: they are put back at once (Revert, the
	// default), refused (Deny), or left until a commit changes the manifest (Keep).
	DriftPolicy DriftPolicy `json:"driftPolicy,omitempty"`
	// Timeout is how long a rollout may take to be healthy before it counts as failed. Defaults to 5m.
	Timeout *metav1.Duration `json:"timeout,omitempty"`
}

// DriftPolicy says what becomes of what differs from Git.
type DriftPolicy string

const (
	DriftRevert DriftPolicy = "Revert"
	DriftDeny   DriftPolicy = "Deny"
	DriftKeep   DriftPolicy = "Keep"
)

// GitRef names a commit. At most one field is set.
type GitRef struct {
	Branch string `json:"branch,omitempty"`
	Tag    string `json:"tag,omitempty"`
	Commit string `json:"commit,omitempty"`
}

// GitAuth is how to log in. Keys of the Secret: username and password, or token; identity (an SSH key), known_hosts and
// passphrase; ca.crt.
type GitAuth struct {
	SecretRef corev1.LocalObjectReference `json:"secretRef"`
}

// GitAllow limits a source.
type GitAllow struct {
	Namespaces []string `json:"namespaces,omitempty"`
	Kinds      []string `json:"kinds,omitempty"`
	// ServiceAccount, of the source's namespace, has what the source does done in its name: what its roles do not give it,
	// the source may not. Empty: the source may all.
	ServiceAccount string `json:"serviceAccount,omitempty"`
}

// GitSourceStatus is what became of it.
type GitSourceStatus struct {
	// ObservedGeneration is the generation of the spec that this status speaks of.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// AppliedGeneration is the generation of the spec that Applied was applied by.
	AppliedGeneration int64 `json:"appliedGeneration,omitempty"`
	// Fetched is the newest commit seen, Applied the newest that is in the store, Healthy the newest whose objects were
	// all well.
	Fetched *GitCommit `json:"fetched,omitempty"`
	Applied *GitCommit `json:"applied,omitempty"`
	Healthy *GitCommit `json:"healthy,omitempty"`
	// Objects is how many objects the source has applied.
	Objects int32 `json:"objects"`
	// Conditions: Fetched, Applied, Healthy, and Ready, which sums them up.
	//
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// GitCommit is a commit, and when it reached the state that it is listed under.
type GitCommit struct {
	Hash    string      `json:"hash"`
	Subject string      `json:"subject,omitempty"`
	Author  string      `json:"author,omitempty"`
	Time    metav1.Time `json:"time"`
}

// GitSourceList is a list of GitSource.
//
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
type GitSourceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []GitSource `json:"items"`
}

// An Inventory is what one file of a source brought. It is written together with the objects that it lists, is owned by
// its GitSource, and is nobody else's to write.
//
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
type Inventory struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec InventorySpec `json:"spec"`
}

// InventorySpec is the file and its objects.
type InventorySpec struct {
	// Source is the name of the GitSource, in the same namespace.
	Source string `json:"source"`
	// Path of the file in the repository, Blob its hash, Commit the one that brought it as it is.
	Path   string `json:"path"`
	Blob   string `json:"blob"`
	Commit string `json:"commit"`
	// Objects in the order of the file.
	//
	// +listType=atomic
	Objects []InventoryObject `json:"objects"`
}

// InventoryObject is one document.
type InventoryObject struct {
	Group     string `json:"group,omitempty"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// UID of the live object, so that one which was deleted and made again by somebody else is not taken for it.
	UID string `json:"uid,omitempty"`
	// Line of the document in the file, from 1.
	Line int32 `json:"line"`
}

// InventoryList is a list of Inventory.
//
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
type InventoryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Inventory `json:"items"`
}
