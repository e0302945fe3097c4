class OrdersController < ActionController::API
  def create
    order = Order.create!(item: params[:item], state: "new")
    render plain: order_url(order), status: :created, location: order_url(order)
  end

  def show
    order = Order.find(params[:id])
    render plain: "#{order.item}: #{order.state}"
  end
end
