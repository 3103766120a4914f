package kmspeers

import (
	"encoding/json"
	"net/http"
	"time"
)

// VaultLife is how long a token of Vault is valid.
type VaultLife struct {
	TTL    time.Duration // 0 means that it does not expire, like the root token
	Max    time.Duration // the maximum TTL; 0 means 768 hours, the default of Vault
	Period time.Duration // the TTL of each renewal, without a maximum; 0 if the token is not periodic
	Fixed  bool          // it cannot be renewed
	NoLook bool          // its policy does not grant auth/token/lookup-self
	NoSelf bool          // its policy does not grant auth/token/renew-self either
	Slack  time.Duration // how long it is accepted after its expiry, because tests may be slow
}

// vaultToken is a token of the server.
type vaultToken struct {
	VaultLife
	id         string
	made, ends time.Time
	renewed    int
}

// Grant creates or replaces a token.
func (v *Vault) Grant(token string, life VaultLife) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	v.tokens[token] = &vaultToken{VaultLife: life, id: token, made: now, ends: now.Add(life.TTL)}
}

// Revoke revokes a token.
func (v *Vault) Revoke(token string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.tokens, token)
}

// Renewed returns how often a token was renewed.
func (v *Vault) Renewed(token string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	if t := v.tokens[token]; t != nil {
		return t.renewed
	}
	return 0
}

// token returns a valid token, or nil.
func (v *Vault) token(id string) *vaultToken {
	v.mu.Lock()
	defer v.mu.Unlock()
	if t := v.tokens[id]; t != nil && (t.TTL == 0 || time.Now().Before(t.ends.Add(t.Slack))) {
		return t
	}
	return nil
}

// aboutToken serves the paths below auth/token/.
func (v *Vault) aboutToken(w http.ResponseWriter, r *http.Request, t *vaultToken, operation string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case operation == "lookup-self" && r.Method == http.MethodGet && !t.NoLook:
		answer(w, t.describe())
	case operation == "renew-self" && (r.Method == http.MethodPut || r.Method == http.MethodPost) && !t.NoSelf:
		t.renew(w, r)
	default:
		refuse(w, http.StatusForbidden, "1 error occurred:\n\t* permission denied\n\n")
	}
}

func (t *vaultToken) describe() map[string]any {
	data := map[string]any{
		"accessor": "8609694a-cdbc-db9b-d345-e782dbb562ed", "creation_time": t.made.Unix(), "creation_ttl": int(t.TTL.Seconds()), "display_name": "token",
		"entity_id": "", "expire_time": nil, "explicit_max_ttl": int(t.Max.Seconds()), "id": t.id, "issue_time": t.made.Format(time.RFC3339Nano), "meta": nil,
		"num_uses": 0, "orphan": true, "path": "auth/token/create", "policies": []string{"coffer", "default"}, "renewable": t.TTL > 0 && !t.Fixed,
		"ttl": 0, "type": "service",
	}
	if t.TTL > 0 {
		data["expire_time"], data["ttl"] = t.ends.Format(time.RFC3339Nano), int(time.Until(t.ends).Seconds())
	}
	if t.Period > 0 {
		data["period"] = int(t.Period.Seconds())
	}
	return data
}

// defaultTTL is the default TTL and maximum TTL of Vault.
const defaultTTL = 768 * time.Hour

func (t *vaultToken) renew(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Increment int `json:"increment"`
	}
	_ = json.NewDecoder(r.Body).Decode(&body)
	if t.TTL == 0 || t.Fixed {
		refuse(w, http.StatusBadRequest, "lease is not renewable")
		return
	}
	life, longest := time.Duration(body.Increment)*time.Second, t.Max
	if life == 0 {
		life = defaultTTL
	}
	if longest == 0 {
		longest = defaultTTL
	}
	if t.Period > 0 {
		life = t.Period
	} else if left := time.Until(t.made.Add(longest)); left < life {
		life = left
	}
	life = life.Truncate(time.Second)
	t.ends = time.Now().Add(life)
	t.renewed++
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"request_id": "1", "lease_id": "", "renewable": false, "lease_duration": 0, "data": nil, "wrap_info": nil, "warnings": nil,
		"auth": map[string]any{
			"client_token": t.id, "accessor": "8609694a-cdbc-db9b-d345-e782dbb562ed", "policies": []string{"coffer", "default"},
			"token_policies": []string{"coffer", "default"}, "metadata": nil, "lease_duration": int(life.Seconds()), "renewable": true,
			"entity_id": "", "token_type": "service", "orphan": true, "num_uses": 0,
		},
	})
}
