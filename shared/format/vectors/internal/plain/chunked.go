package plain

import (
	"crypto/hkdf"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"slices"

	"github.com/coffer-storage/coffer/shared/envelope"
)

// Sizes of C2SP chunked-encryption v1 with AEAD_AES_256_GCM (section 6.6).
const (
	ChunkSize      = 16 << 10
	ChunkedSalt    = 24
	commitmentSize = 32
	tagSize        = 16
)

const chunkedLabel = "c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"

// Schedule is the key schedule of one chunked body.
type Schedule struct{ Key, BaseNonce, Commitment []byte }

// NewSchedule derives the schedule from the input key, the body's salt and the context.
func NewSchedule(inputKey, salt, context []byte) Schedule {
	info := slices.Concat([]byte(chunkedLabel), salt, context)
	out, err := hkdf.Expand(sha512.New, inputKey, string(info), 32+12+commitmentSize)
	if err != nil {
		panic(err)
	}
	return Schedule{out[:32], out[32:44], out[44:]}
}

func (s *Schedule) nonce(chunk uint64) []byte {
	nonce := slices.Clone(s.BaseNonce)
	counter := nonce[4:]
	binary.BigEndian.PutUint64(counter, binary.BigEndian.Uint64(counter)^chunk)
	return nonce
}

// SealChunks returns a chunked body: salt, commitment and chunks.
func SealChunks(inputKey, salt, context, plaintext []byte) []byte {
	s := NewSchedule(inputKey, salt, context)
	aead := newGCM(s.Key)
	chunks := len(plaintext)/ChunkSize + 1
	body := make([]byte, 0, len(salt)+commitmentSize+len(plaintext)+chunks*tagSize) // allocated at once, so that GCM does not copy it for each chunk
	body = append(append(body, salt...), s.Commitment...)
	for i := uint64(0); ; i++ {
		n := min(len(plaintext), ChunkSize)
		body = aead.Seal(body, s.nonce(i), plaintext[:n], nil)
		if plaintext = plaintext[n:]; n < ChunkSize {
			return body
		}
	}
}

// OpenChunks opens a complete chunked body. It returns envelope.ErrAuthentication for every fault.
func OpenChunks(inputKey, context, body []byte) ([]byte, error) {
	if len(body) < ChunkedSalt+commitmentSize+tagSize {
		return nil, envelope.ErrAuthentication
	}
	s := NewSchedule(inputKey, body[:ChunkedSalt], context)
	body = body[ChunkedSalt:]
	if subtle.ConstantTimeCompare(body[:commitmentSize], s.Commitment) == 0 {
		return nil, envelope.ErrAuthentication
	}
	aead, plaintext := newGCM(s.Key), make([]byte, 0, len(body))
	body = body[commitmentSize:]
	for i := uint64(0); ; i++ {
		n := min(len(body), ChunkSize+tagSize)
		var err error
		if plaintext, err = aead.Open(plaintext, s.nonce(i), body[:n], nil); err != nil {
			return nil, envelope.ErrAuthentication
		}
		if body = body[n:]; n < ChunkSize+tagSize {
			if len(body) > 0 {
				return nil, envelope.ErrAuthentication
			}
			return plaintext, nil
		}
	}
}
