package api

import (
	"errors"
	"fmt"
	"io"
	"os"

	"gopkg.in/natefinch/lumberjack.v2"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/audit/policy"
	genericapiserver "k8s.io/apiserver/pkg/server"
	auditlog "k8s.io/apiserver/plugin/pkg/audit/log"
)

// Audit is what is written of requests, and where.
type Audit struct {
	Log    string // file, to which a line of JSON is added for each event; "-": standard output; "": nothing is written
	Policy string // file with a Policy of audit.k8s.io/v1; "": who asked for what, and the answer's code, of all but reads of health
}

// A file of the log that is larger than this is renamed, with the time; so many of these are kept.
const (
	auditFileMB = 100
	auditFiles  = 10
)

// apply has a server keep the log. What is to be closed when the server has ended is nil if there is none.
func (a Audit) apply(c *genericapiserver.Config) (io.Closer, error) {
	if a.Log == "" {
		if a.Policy != "" {
			return nil, errors.New("there is an audit policy, but no audit log")
		}
		return nil, nil
	}
	p, err := a.policy()
	if err != nil {
		return nil, fmt.Errorf("read the audit policy: %w", err)
	}
	out, err := a.open()
	if err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	c.AuditPolicyRuleEvaluator = policy.NewPolicyRuleEvaluator(p)
	c.AuditBackend = auditlog.NewBackend(out, auditlog.FormatJson, auditv1.SchemeGroupVersion)
	return out, nil
}

func (a Audit) policy() (*auditinternal.Policy, error) {
	if a.Policy != "" {
		return policy.LoadPolicyFromFile(a.Policy)
	}
	return policy.LoadPolicyFromBytes([]byte(usualPolicy))
}

const usualPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, nonResourceURLs: ["/livez*", "/readyz*", "/healthz*"]}
- {level: Metadata}
`

// open fails at once where nothing can be written later.
func (a Audit) open() (io.WriteCloser, error) {
	if a.Log == "-" {
		return standardOutput{}, nil
	}
	f, err := os.OpenFile(a.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	return &lumberjack.Logger{Filename: a.Log, MaxSize: auditFileMB, MaxBackups: auditFiles}, nil
}

// standardOutput is nobody's to close.
type standardOutput struct{}

func (standardOutput) Write(p []byte) (int, error) { return os.Stdout.Write(p) }
func (standardOutput) Close() error                { return nil }
