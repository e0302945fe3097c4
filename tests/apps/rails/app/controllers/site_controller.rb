class SiteController < ActionController::API
  def version
    answer Shop::VERSION
  end

  def echo
    answer request.raw_post
  end

  private

  def answer(text)
    response.set_header "Content-Length", text.bytesize
    render plain: text
  end
end
