Rails.application.routes.draw do
  get "version", to: "site#version"
  post "echo", to: "site#echo"
  resources :orders, only: [:create, :show]
end
