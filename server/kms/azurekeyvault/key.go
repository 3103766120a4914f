package azurekeyvault

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/envelope"
)

const (
	label   = "coffer/v1 azurekeyvault" // begins the signed data, and no other use of the key signs data that begins with it
	minSize = 2048 / 8                  // of a modulus, in bytes
)

var (
	_     kms.Driver = (*key)(nil)
	wraps            = azkeys.EncryptionAlgorithmRSAOAEP256
	signs            = azkeys.SignatureAlgorithmPS256
)

func (k *key) URL() string {
	if k.version == "" {
		return "azurekeyvault://" + k.host + "/keys/" + k.name
	}
	return "azurekeyvault://" + k.host + "/keys/" + k.name + "/" + k.version
}

func (k *key) Advice() string {
	return "AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET (has it expired?), that the identity may get, wrapKey, unwrapKey and sign with " +
		"the key (role Key Vault Crypto User, or an access policy), that the key permits these operations, and the vault's firewall"
}

// Encrypt implements kms.Driver. It encrypts plain under an inner random key, since RSA encrypts few bytes. The
// ciphertext is
//
//	RSA-OAEP-256 of the inner key || PS256 signature || AES-256-GCM of plain
//
// of which the first two parts are as long as the modulus (SPEC.md section 4).
func (k *key) Encrypt(ctx context.Context, plain, additionalData []byte) ([]byte, string, error) {
	inner := secret.New()
	defer inner.Clear()
	sealed, err := inner.SealBytes(plain, additionalData)
	if err != nil {
		return nil, "", err
	}
	raw := inner.Append(nil)
	defer clear(raw)
	wrapped, err := k.vault.WrapKey(ctx, k.name, k.version, azkeys.KeyOperationParameters{Algorithm: &wraps, Value: raw}, nil)
	if err != nil {
		return nil, "", kmsError(err)
	}
	if wrapped.KID == nil || !keyVersion.MatchString(wrapped.KID.Version()) {
		return nil, "", errGarbled
	}
	version := wrapped.KID.Version()
	signature, err := k.vault.Sign(ctx, k.name, version, azkeys.SignParameters{
		Algorithm: &signs, Value: digest(version, additionalData, wrapped.Result, sealed),
	}, nil)
	if err != nil {
		return nil, "", kmsError(err)
	}
	if len(wrapped.Result) < minSize || len(signature.Result) != len(wrapped.Result) {
		return nil, "", errGarbled
	}
	return append(append(wrapped.Result, signature.Result...), sealed...), version, nil
}

// Decrypt implements kms.Driver. It verifies the signature before it asks Key Vault to unwrap.
func (k *key) Decrypt(ctx context.Context, version string, ciphertext, additionalData []byte) ([]byte, error) {
	if !keyVersion.MatchString(version) {
		return nil, envelope.ErrAuthentication
	}
	public, err := k.publicKey(ctx, version)
	if err != nil {
		return nil, k.explainNotFound(ctx, err)
	}
	size := public.Size()
	if len(ciphertext) < 2*size {
		return nil, envelope.ErrAuthentication
	}
	wrapped, signature, sealed := ciphertext[:size], ciphertext[size:2*size], ciphertext[2*size:]
	signed := digest(version, additionalData, wrapped, sealed)
	if rsa.VerifyPSS(public, crypto.SHA256, signed, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) != nil {
		return nil, envelope.ErrAuthentication
	}
	answer, err := k.vault.UnwrapKey(ctx, k.name, version, azkeys.KeyOperationParameters{Algorithm: &wraps, Value: wrapped}, nil)
	if err != nil {
		return nil, k.explainNotFound(ctx, kmsError(err))
	}
	defer clear(answer.Result)
	inner, err := secret.FromBytes(answer.Result)
	if err != nil {
		return nil, errGarbled
	}
	defer inner.Clear()
	return inner.OpenBytes(sealed, additionalData)
}

// digest returns the SHA-256 hash of the signed data: each part after its length in four bytes.
func digest(version string, parts ...[]byte) []byte {
	h := sha256.New()
	for _, part := range append([][]byte{[]byte(label), []byte(version)}, parts...) {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part))))
		h.Write(part)
	}
	return h.Sum(nil)
}

// publicKey returns the public key of a version, from the cache if possible.
func (k *key) publicKey(ctx context.Context, version string) (*rsa.PublicKey, error) {
	k.mu.Lock()
	public, ok := k.public[version]
	k.mu.Unlock()
	if ok {
		return public, nil
	}
	answer, err := k.vault.GetKey(ctx, k.name, version, nil)
	if err != nil {
		return nil, kmsError(err)
	}
	if public = readKey(answer.Key, version); public == nil {
		return nil, errGarbled
	}
	k.mu.Lock()
	k.public[version] = public
	k.mu.Unlock()
	return public, nil
}

// readKey returns nil if jwk is not the RSA key of the version.
func readKey(jwk *azkeys.JSONWebKey, version string) *rsa.PublicKey {
	if jwk == nil || jwk.KID == nil || jwk.KID.Version() != version || len(jwk.N) > 16384/8 {
		return nil
	}
	n, e := new(big.Int).SetBytes(jwk.N), new(big.Int).SetBytes(jwk.E)
	if n.BitLen() < 8*minSize || !e.IsInt64() || e.Int64() > math.MaxInt32 {
		return nil
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}
}

// explainNotFound returns ErrRecreated for a version that is not found if the key still exists, with other versions.
func (k *key) explainNotFound(ctx context.Context, err error) error {
	if !errors.Is(err, errNotFound) {
		return err
	}
	_, err = k.vault.GetKey(ctx, k.name, "", nil)
	err = kmsError(err)
	if err == nil || errors.Is(err, errDisabled) {
		return fmt.Errorf("%w (the version that wrapped is gone)", kms.ErrRecreated)
	}
	return err
}
