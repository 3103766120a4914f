package main

import (
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

type keysRequest struct {
	Environment string
	Owner       string
	Password    string // or a master key
}

// keysAnswer is a document that was made for a browser.
type keysAnswer struct {
	Made []byte `json:"made"`
}

func keys() (any, error) {
	in, err := request[keysRequest]()
	if err != nil {
		return nil, err
	}
	var all []format.Use
	for use := format.UseStorage; use <= format.Uses; use++ {
		all = append(all, use)
	}
	made, err := keyring.NewDocument(in.Environment, in.Owner, in.Password, classify.WriteFloor, all...)
	return keysAnswer{made}, err
}
