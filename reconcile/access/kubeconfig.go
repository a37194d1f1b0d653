package access

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Admin is the user whose certificate is in the kubeconfig that Kubeconfig writes.
const Admin = "mainstay-admin"

const contextName = "mainstay"

// Kubeconfig makes path a kubeconfig with which its reader may do anything at server, a URL. A file that is already that,
// and whose certificate is not old, is left as it is; any other kubeconfig of ours is replaced. Only its owner can read
// it.
func (a *Authority) Kubeconfig(path, server string, now time.Time) error {
	was, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	if err == nil && a.serves(was, server, now) {
		return nil
	}
	certificate, key, err := a.Client(Admin, []string{user.SystemPrivilegedGroup}, now)
	if err != nil {
		return err
	}
	c := clientcmdapi.NewConfig()
	c.Clusters[contextName] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: a.pem}
	c.AuthInfos[Admin] = &clientcmdapi.AuthInfo{ClientCertificateData: certificate, ClientKeyData: key}
	c.Contexts[contextName] = &clientcmdapi.Context{Cluster: contextName, AuthInfo: Admin}
	c.CurrentContext = contextName
	data, err := clientcmd.Write(*c)
	if err != nil {
		return fmt.Errorf("encode kubeconfig: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	if err := replaceFile(path, data, 0o600); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	return nil
}

// serves tells whether data is a kubeconfig for server and this authority that is good for some time.
func (a *Authority) serves(data []byte, server string, now time.Time) bool {
	c, err := clientcmd.Load(data)
	if err != nil || c.Clusters[contextName] == nil || c.AuthInfos[Admin] == nil || c.CurrentContext != contextName {
		return false
	}
	cluster, who := c.Clusters[contextName], c.AuthInfos[Admin]
	pair, err := tls.X509KeyPair(who.ClientCertificateData, who.ClientKeyData)
	if err != nil {
		return false
	}
	return cluster.Server == server && bytes.Equal(cluster.CertificateAuthorityData, a.pem) &&
		pair.Leaf.CheckSignatureFrom(a.certificate) == nil && !old(pair.Leaf, now)
}
