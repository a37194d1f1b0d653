// Compat compares what reconcile/scheme says of objects with what Kubernetes says of them: whether they are accepted, new and
// as a change of another, what is filled in where they leave something out, and the table that kubectl shows.
//
// The objects are those of testdata, hand-picked, and many that come of them by small changes drawn from a seed. The program is
// a module of its own, since k8s.io/kubernetes serves here as an oracle, and is no part of the product.
//
//	go run .                       all kinds
//	go run . --kind Pod --show 20  one kind, and objects of which the two say different things
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
)

func main() {
	var o options
	flag.IntVar(&o.changes, "changes", 400, "objects made of each hand-picked one")
	flag.Uint64Var(&o.seed, "seed", 1, "of what is drawn")
	flag.StringVar(&o.kind, "kind", "", "only this kind")
	flag.IntVar(&o.show, "show", 0, "disagreements to print of each kind and comparison")
	flag.StringVar(&o.only, "only", "", "of these, only verdicts, updates, defaults or columns")
	flag.StringVar(&o.rates, "rates", "", "write to this file")
	flag.Parse()
	klog.SetLogger(logr.Discard()) // Kubernetes complains of what is not validated yet
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "compat:", err)
		os.Exit(1)
	}
}

type options struct {
	changes, show int
	seed          uint64
	kind, only    string
	rates         string
}

func run(o options) error {
	seeds, err := readSeeds("testdata")
	if err != nil {
		return err
	}
	ours, now := scheme.New(scheme.Options{}), time.Now()
	theirs := newOracle()
	r := &report{options: o}
	for _, k := range ours.All() {
		if o.kind != "" && k.Kind != o.kind || k.Group == "mainstay.dev" {
			continue
		}
		if theirs.strategies[k.GroupVersionKind] == nil {
			r.missing = append(r.missing, k.Kind+": no strategy of Kubernetes is known here")
			continue
		}
		picked := seeds[k.GroupVersionKind]
		if len(picked) == 0 {
			r.missing = append(r.missing, k.Kind+": testdata has no object of it")
			continue
		}
		c := &comparison{kind: k, ours: ours, theirs: theirs, tally: r.of(k.Kind), now: now}
		c.all(picked, o)
	}
	if o.rates == "" {
		r.print(os.Stdout)
		return nil
	}
	f, err := os.Create(o.rates)
	if err != nil {
		return err
	}
	r.print(f)
	return f.Close()
}
