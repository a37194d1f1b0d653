package admit

import (
	"fmt"
	"slices"

	registration "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/informers"
	registrationinformers "k8s.io/client-go/informers/admissionregistration"
	registrationinformersv1 "k8s.io/client-go/informers/admissionregistration/v1"
	coreinformers "k8s.io/client-go/informers/core"
	coreinformersv1 "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	registrationlisters "k8s.io/client-go/listers/admissionregistration/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// webhooks are upstream's plug-in for one set of configurations. It is made anew when they change.
type webhooks[C store.Object] struct {
	of     []C
	plugin admission.Interface
}

// hook is what upstream's two kinds of webhooks have in common.
type hook interface {
	admission.InitializationValidator
	SetServiceResolver(webhookutil.ServiceResolver)
	SetExternalKubeClientSet(kubernetes.Interface)
	SetExternalKubeInformerFactory(informers.SharedInformerFactory)
	SetUnconditionalAuthorizer(authorizer.UnconditionalAuthorizer)
}

func (p *Policies) mutatingWebhooks(s *store.Snapshot) (admission.MutationInterface, error) {
	of := all[*registration.MutatingWebhookConfiguration](s)
	if len(of) == 0 {
		return nil, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Equal(of, p.mutate.of) {
		plugin, err := mutating.NewMutatingWebhook(nil)
		if err == nil {
			err = p.begin(plugin, factory{p: p, mutating: of})
		}
		if err != nil {
			return nil, apierrors.NewInternalError(fmt.Errorf("prepare webhooks: %w", err))
		}
		p.mutate = webhooks[*registration.MutatingWebhookConfiguration]{of, plugin}
	}
	return p.mutate.plugin.(admission.MutationInterface), nil
}

func (p *Policies) validatingWebhooks(s *store.Snapshot) (admission.ValidationInterface, error) {
	of := all[*registration.ValidatingWebhookConfiguration](s)
	if len(of) == 0 {
		return nil, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Equal(of, p.validate.of) {
		plugin, err := validating.NewValidatingAdmissionWebhook(nil)
		if err == nil {
			err = p.begin(plugin, factory{p: p, validating: of})
		}
		if err != nil {
			return nil, apierrors.NewInternalError(fmt.Errorf("prepare webhooks: %w", err))
		}
		p.validate = webhooks[*registration.ValidatingWebhookConfiguration]{of, plugin}
	}
	return p.validate.plugin.(admission.ValidationInterface), nil
}

func (p *Policies) begin(h hook, f factory) error {
	h.SetServiceResolver(Services{p.state})
	h.SetExternalKubeClientSet(&kubernetes.Clientset{}) // demanded, and not asked: see namespaces
	h.SetExternalKubeInformerFactory(f)
	h.SetUnconditionalAuthorizer(p.authorizer())
	return h.ValidateInitialization()
}

// factory hands upstream's plug-ins what they read, in the place of informers.
type factory struct {
	informers.SharedInformerFactory
	p          *Policies
	mutating   []*registration.MutatingWebhookConfiguration
	validating []*registration.ValidatingWebhookConfiguration
}

func (f factory) Core() coreinformers.Interface                          { return coreFactory{p: f.p} }
func (f factory) Admissionregistration() registrationinformers.Interface { return groupFactory{f: f} }

type coreFactory struct {
	coreinformersv1.Interface
	p *Policies
}

func (f coreFactory) V1() coreinformersv1.Interface                      { return f }
func (f coreFactory) Namespaces() coreinformersv1.TypedNamespaceInformer { return f }
func (coreFactory) Informer() cache.SharedIndexInformer                  { return synced{} }
func (f coreFactory) Lister() corelisters.NamespaceLister                { return f }
func (f coreFactory) Get(name string) (*corev1.Namespace, error) {
	return namespaces{f.p.state()}.Get(name)
}
func (f coreFactory) List(l labels.Selector) ([]*corev1.Namespace, error) {
	return namespaces{f.p.state()}.List(l)
}

// TypedInformer is asked for by nobody.
func (coreFactory) TypedInformer() coreinformersv1.NamespaceIndexInformer { return nil }

type groupFactory struct {
	registrationinformers.Interface
	f factory
}

func (g groupFactory) V1() registrationinformersv1.Interface { return versionFactory{f: g.f} }

type versionFactory struct {
	registrationinformersv1.Interface
	f factory
}

func (v versionFactory) MutatingWebhookConfigurations() registrationinformersv1.TypedMutatingWebhookConfigurationInformer {
	return changing{f: v.f}
}

func (v versionFactory) ValidatingWebhookConfigurations() registrationinformersv1.TypedValidatingWebhookConfigurationInformer {
	return judging{f: v.f}
}

// changing are the configurations of webhooks that change objects, judging those of the others.
type (
	changing struct {
		registrationlisters.MutatingWebhookConfigurationLister
		f factory
	}
	judging struct {
		registrationlisters.ValidatingWebhookConfigurationLister
		f factory
	}
)

func (changing) Informer() cache.SharedIndexInformer { return synced{} }
func (judging) Informer() cache.SharedIndexInformer  { return synced{} }

// TypedInformer is asked for by nobody.
func (changing) TypedInformer() registrationinformersv1.MutatingWebhookConfigurationIndexInformer {
	return nil
}

// TypedInformer is asked for by nobody.
func (judging) TypedInformer() registrationinformersv1.ValidatingWebhookConfigurationIndexInformer {
	return nil
}

func (c changing) Lister() registrationlisters.MutatingWebhookConfigurationLister  { return c }
func (j judging) Lister() registrationlisters.ValidatingWebhookConfigurationLister { return j }

func (c changing) List(labels.Selector) ([]*registration.MutatingWebhookConfiguration, error) {
	return slices.Clone(c.f.mutating), nil
}

func (j judging) List(labels.Selector) ([]*registration.ValidatingWebhookConfiguration, error) {
	return slices.Clone(j.f.validating), nil
}
